//! Every place of a block of lines, at a cost that grows with the text and the block, not with both together.

/// Where a block of numbered lines stands in a text of them, ascending; places may overlap.
///
/// `steps` grows by the comparisons this takes: at most twice as many as both have lines.
pub(crate) fn places_of(text: &[u32], block: &[u32], steps: &mut usize) -> Vec<u32> {
    let mut places = Vec::new();
    let mut search = Search::new(block, steps);
    for (end, &number) in text.iter().enumerate() {
        if search.next(number, steps) {
            places.push((end + 1 - block.len()) as u32);
        }
    }
    places
}

/// The first place of a block from a line on.
pub(crate) fn first_place(text: &[u32], block: &[u32], from: u32) -> Option<u32> {
    let steps = &mut 0;
    let mut search = Search::new(block, steps);
    let behind = text.get(from as usize..)?;
    let end = behind.iter().position(|&number| search.next(number, steps))?;
    Some(from + (end + 1 - block.len()) as u32)
}

/// The search of Knuth, Morris and Pratt.
struct Search<'a> {
    block: &'a [u32],
    /// For every start of the block, how long the longest other start of it is that it ends with.
    again: Vec<u32>,
    /// How much of the block agrees with what was read last.
    agreed: usize,
}

impl<'a> Search<'a> {
    fn new(block: &'a [u32], steps: &mut usize) -> Self {
        let mut search = Self { block, again: vec![0; block.len()], agreed: 0 };
        for (at, &number) in block.iter().enumerate().skip(1) {
            search.next(number, steps);
            search.again[at] = search.agreed as u32;
        }
        search.agreed = 0;
        search
    }

    /// Takes the next line of the text; whether the block ends with it.
    fn next(&mut self, number: u32, steps: &mut usize) -> bool {
        if self.agreed == self.block.len() {
            self.fall_back();
        }
        *steps += 1;
        while self.agreed > 0 && self.block.get(self.agreed) != Some(&number) {
            self.fall_back();
            *steps += 1;
        }
        self.agreed += usize::from(self.block.get(self.agreed) == Some(&number));
        self.agreed == self.block.len() && self.agreed > 0
    }

    fn fall_back(&mut self) {
        self.agreed = self.agreed.checked_sub(1).map_or(0, |last| self.again[last] as usize);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Where a block stands, by looking everywhere.
    fn everywhere(text: &[u32], block: &[u32]) -> Vec<u32> {
        let starts = text.windows(block.len()).enumerate().filter(|(_, lines)| *lines == block);
        starts.map(|(start, _)| start as u32).collect()
    }

    proptest! {
        #[test]
        fn every_place_is_found(
            text in prop::collection::vec(0u32..3, 0..40),
            block in prop::collection::vec(0u32..3, 1..6),
            from in 0u32..45,
        ) {
            let expected = everywhere(&text, &block);
            prop_assert_eq!(&places_of(&text, &block, &mut 0), &expected);
            let first = expected.into_iter().find(|&place| place >= from);
            prop_assert_eq!(first_place(&text, &block, from), first);
        }
    }

    #[test]
    fn the_cost_grows_with_the_length() {
        let steps_of = |lines: usize| {
            let mut steps = 0;
            let mut block = vec![7; lines / 2];
            assert_eq!(places_of(&vec![7; lines], &block, &mut steps).len(), lines - lines / 2 + 1);
            // And where the last line of the block is the one that disagrees.
            block.push(8);
            assert!(places_of(&vec![7; lines], &block, &mut steps).is_empty());
            steps
        };
        let (short, long) = (steps_of(1_000), steps_of(2_000));
        assert!(short < 8_000 && long <= 2 * short + 8, "{short} {long}");
    }
}
