//! Id maps of user namespaces (`user_namespaces(7)`).

use serde::{Deserialize, Serialize};

/// `count` ids from `outer` on appear inside as `inner` and up: one line of
/// `/proc/PID/uid_map`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub inner: u32,
    pub outer: u32,
    pub count: u32,
}

/// A range that was asked for, before overlaps are resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// None: from 0 on, making room for a single id instead of losing one.
    pub inner: Option<u32>,
    pub outer: u32,
    pub count: u32,
}

impl IdRange {
    pub const fn single(inner: u32, outer: u32) -> Self {
        Self { inner, outer, count: 1 }
    }
}

/// The lines of `/proc/PID/uid_map` for `ranges`.
pub fn lines(ranges: &[IdRange]) -> String {
    let line = |r: &IdRange| format!("{} {} {}\n", r.inner, r.outer, r.count);
    ranges.iter().map(line).collect()
}

/// Puts the map of one id (`single`: inner, outer) before `blocks` and cuts
/// holes into those where they overlap it, as unshare(1) does.
pub fn with_single(blocks: &[Block], single: Option<(u32, u32)>) -> Vec<IdRange> {
    let Some((inner, outer)) = single else {
        return blocks.iter().map(|b| b.at(b.inner.unwrap_or(0), b.count)).collect();
    };
    let mut all = vec![IdRange::single(inner, outer)];
    for block in blocks {
        all.extend(around(*block, inner, outer).into_iter().filter(|range| range.count > 0));
    }
    all
}

impl Block {
    const fn at(self, inner: u32, count: u32) -> IdRange {
        IdRange { inner, outer: self.outer, count }
    }

    /// The block without the id it loses to the single map, if it does.
    fn beside(self, inner: u32, outer: u32) -> IdRange {
        let Some(first) = self.inner else { return self.at(0, self.count) };
        // One past the end counts too, as in unshare(1).
        let within = |id: u32, from: u32| id >= from && id - from <= self.count;
        let overlaps = within(outer, self.outer) || within(inner, first);
        self.at(first, self.count.saturating_sub(u32::from(overlaps)))
    }
}

/// `block` in up to three pieces that neither map `outer` nor give `inner`.
fn around(block: Block, inner: u32, outer: u32) -> [IdRange; 3] {
    let range = block.beside(inner, outer);
    let inner_at = inner.saturating_sub(range.inner).min(range.count);
    let outer_at = outer.saturating_sub(range.outer).min(range.count);
    let after = |previous: IdRange, count: u32| {
        let step = |id: u32, taken: u32| id.wrapping_add(u32::from(id == taken));
        IdRange {
            inner: step(previous.inner.wrapping_add(previous.count), inner),
            outer: step(previous.outer.wrapping_add(previous.count), outer),
            count,
        }
    };
    let low = IdRange { count: inner_at.min(outer_at), ..range };
    let middle = after(low, inner_at.abs_diff(outer_at));
    let high = after(middle, range.count - low.count - middle.count);
    [low, middle, high]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn range(inner: u32, outer: u32, count: u32) -> IdRange {
        IdRange { inner, outer, count }
    }

    /// A user's line in /etc/subuid, as `--map-auto` uses it.
    const AUTO: Block = Block { inner: None, outer: 100_000, count: 65_536 };

    #[test]
    fn root_first_and_the_subordinate_ids_behind_it() {
        let map = with_single(&[AUTO], Some((0, 1000)));
        assert_eq!(map, [range(0, 1000, 1), range(1, 100_000, 65_536)]);
        assert_eq!(lines(&map), "0 1000 1\n1 100000 65536\n");
    }

    #[test]
    fn the_current_user_splits_the_range() {
        let expected =
            [range(1000, 1000, 1), range(0, 100_000, 1000), range(1001, 101_000, 64_536)];
        assert_eq!(with_single(&[AUTO], Some((1000, 1000))), expected);
    }

    #[test]
    fn a_fixed_range_loses_its_topmost_id() {
        let fixed = Block { inner: Some(0), ..AUTO };
        let expected = [range(0, 1000, 1), range(1, 100_000, 65_535)];
        assert_eq!(with_single(&[fixed], Some((0, 1000))), expected);
    }

    #[test]
    fn without_a_single_id_ranges_stay() {
        assert_eq!(with_single(&[AUTO], None), [range(0, 100_000, 65_536)]);
    }

    proptest! {
        #[test]
        fn no_id_is_mapped_twice(
            inner in 0u32..200, outer in 0u32..200,
            from in prop::option::of(0u32..200), to in 0u32..200, count in 0u32..100,
        ) {
            let map = with_single(&[Block { inner: from, outer: to, count }], Some((inner, outer)));
            for start in [|r: &IdRange| r.inner, |r: &IdRange| r.outer] {
                let mut ids: Vec<u32> = map.iter().flat_map(|r| start(r)..start(r) + r.count).collect();
                let length = ids.len();
                ids.sort_unstable();
                ids.dedup();
                prop_assert_eq!(ids.len(), length, "{:?}", map);
            }
        }
    }
}
