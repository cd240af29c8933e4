//! Header fields that intermediaries add, drop and read (RFC 9110 7.6, RFC 9211, Edge Architecture).
