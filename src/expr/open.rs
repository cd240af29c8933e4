//! Where the calls and references start that are being read.

/// Places, the innermost last. The first few need no memory of their own: hardly anything nests deeper.
#[derive(Debug, Default)]
pub(super) struct Open {
    few: [usize; 4],
    count: usize,
    more: Vec<usize>,
}

impl Open {
    pub(super) fn push(&mut self, place: usize) {
        match self.few.get_mut(self.count) {
            Some(room) => {
                *room = place;
                self.count += 1;
            }
            None => self.more.push(place),
        }
    }

    pub(super) fn pop(&mut self) {
        if self.more.pop().is_none() {
            self.count = self.count.saturating_sub(1);
        }
    }

    /// The places, the outermost first.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let few = self.few.iter().take(self.count);
        few.chain(&self.more).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_pushed_last_goes_first() {
        let mut open = Open::default();
        open.pop();
        for place in 0..7 {
            open.push(place);
        }
        assert!(open.places().eq(0..7));
        for left in (0..7).rev() {
            open.pop();
            assert!(open.places().eq(0..left), "{left}");
        }
    }
}
