//! The binary: arguments in, exit code out.

/// Many small allocations a page: mimalloc takes them faster than the system's.
#[global_allocator]
static ALLOCATOR: marquetry::allocator::Mimalloc = marquetry::allocator::Mimalloc;

fn main() -> std::process::ExitCode {
    marquetry::cli::main()
}
