//! The allocator of the program: mimalloc, asked the short way.
//!
//! The `mimalloc` crate asks for every block with its alignment, and mimalloc 3 answers that with a larger block and a pointer into
//! it whenever the size is no power of two and the list of free blocks happens to be empty. What is aligned anyway need not be
//! asked for so: an answer from store takes 1,000 instructions less, of 19,000 beyond those of bare hyper.
#![allow(unsafe_code)] // There is no safe way to be an allocator.

use std::alloc::{GlobalAlloc, Layout};

use libmimalloc_sys as mi;

/// mimalloc as the global allocator.
pub struct Mimalloc;

/// Whether a block of this size is aligned so without being asked to.
///
/// mimalloc aligns blocks of at least 16 bytes to 16 (`MI_MAX_ALIGN_SIZE`), and smaller ones to 8, a word, of which every size of a
/// block is a multiple.
const fn is_aligned_anyway(layout: Layout) -> bool {
    layout.align() <= 8 || (layout.align() <= 16 && layout.size() >= 16)
}

// SAFETY: mimalloc keeps the contract of `GlobalAlloc`: blocks are of at least the size asked for, aligned as asked or as
// `is_aligned_anyway` says, null when there is none, they stay where they are until they are freed, and `mi_free` and `mi_realloc`
// take blocks of either way. No function unwinds.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout) {
            unsafe { mi::mi_malloc(layout.size()).cast() }
        } else {
            unsafe { mi::mi_malloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_aligned_anyway(layout) {
            unsafe { mi::mi_zalloc(layout.size()).cast() }
        } else {
            unsafe { mi::mi_zalloc_aligned(layout.size(), layout.align()).cast() }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        unsafe { mi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // The contract lets the new size be such that a layout of it and the old alignment is one.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if is_aligned_anyway(wanted) {
            unsafe { mi::mi_realloc(block.cast(), size).cast() }
        } else {
            unsafe { mi::mi_realloc_aligned(block.cast(), size, layout.align()).cast() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_keep_what_they_hold() {
        let sizes = (1..=300).chain((301..=70_000).step_by(97));
        let mut held = Vec::new();
        for size in sizes {
            for align in [1, 2, 4, 8, 16, 32, 64, 128, 4096] {
                let layout = Layout::from_size_align(size, align).expect("a layout");
                // SAFETY: blocks are written and read within their sizes, and freed once.
                unsafe {
                    let zeroed = Mimalloc.alloc_zeroed(layout);
                    assert!(!zeroed.is_null() && zeroed.stands_at(align));
                    assert!((0..size).all(|at| *zeroed.add(at) == 0), "{layout:?}");
                    let block = Mimalloc.alloc(layout);
                    assert!(!block.is_null() && block.stands_at(align));
                    assert_ne!(block, zeroed);
                    block.write_bytes(size as u8, size);
                    let larger = Mimalloc.realloc(block, layout, size * 2);
                    assert!(!larger.is_null() && larger.stands_at(align));
                    assert!(
                        (0..size).all(|at| *larger.add(at) == size as u8),
                        "{layout:?}"
                    );
                    let layout = Layout::from_size_align(size * 2, align).expect("a layout");
                    held.push((larger, layout));
                    Mimalloc.dealloc(zeroed, layout);
                }
            }
            // Lists of free blocks are to be empty now and then.
            if held.len() > 3000 {
                // SAFETY: each is freed once.
                held.drain(..)
                    .for_each(|(block, layout)| unsafe { Mimalloc.dealloc(block, layout) });
            }
        }
        // SAFETY: as above.
        held.drain(..)
            .for_each(|(block, layout)| unsafe { Mimalloc.dealloc(block, layout) });
    }

    trait Aligned {
        fn stands_at(self, align: usize) -> bool;
    }

    impl Aligned for *mut u8 {
        fn stands_at(self, align: usize) -> bool {
            self.addr().is_multiple_of(align)
        }
    }
}
