//! Cache-Control and Surrogate-Control (RFC 9111 5.2, Edge Architecture): read once into a few values.
