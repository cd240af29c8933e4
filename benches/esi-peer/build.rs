//! The peer names functions of its vendor's platform, which are nowhere else. What is measured calls none of them, so each is
//! given the address of one function that ends the program (`main.rs`).

/// What the peer names.
const PLATFORM: [&str; 36] = [
    "abandon",
    "append",
    "auto_decompress_response_set",
    "cache_override_v2_set",
    "downstream_client_ip_addr",
    "downstream_client_request_id",
    "downstream_server_ip_addr",
    "fastly_key_is_valid",
    "framing_headers_mode_set",
    "get_addr_dest_ip",
    "get_addr_dest_port",
    "get_suggested_cache_options",
    "header_append",
    "header_insert",
    "header_names_get",
    "header_remove",
    "header_values_get",
    "known_length",
    "method_get",
    "method_set",
    "new",
    "pending_req_select_v2",
    "pending_req_wait_v2",
    "prepare_response_for_storage",
    "register_dynamic_backend",
    "send_async",
    "status_get",
    "status_set",
    "transaction_abandon",
    "transaction_insert",
    "transaction_record_not_cacheable",
    "transaction_update",
    "uri_get",
    "uri_set",
    "version_get",
    "version_set",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for name in PLATFORM {
        println!("cargo:rustc-link-arg=-Wl,--defsym={name}=asked_of_the_platform");
    }
}
