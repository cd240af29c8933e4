//! The peer names functions of its vendor's platform that no other has. What is measured calls none of them, so they may stay
//! without an address; a call would end the program.

fn main() {
    println!("cargo:rustc-link-arg=-Wl,--unresolved-symbols=ignore-all");
}
