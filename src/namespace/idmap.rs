//! Id maps of user namespaces (user_namespaces(7)).

/// `count` ids from `outer` on appear inside as `inner` and up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    pub inner: u32,
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

/// Puts the map of one id (`single`: inner, outer) before `ranges` and cuts
/// holes into those where they overlap it. A range of n ids that overlaps
/// keeps n - 1 of them, the topmost is lost, as in unshare(1).
pub fn with_single(ranges: &[IdRange], single: Option<(u32, u32)>) -> Vec<IdRange> {
    let Some((inner, outer)) = single else { return ranges.to_vec() };
    let mut all = vec![IdRange::single(inner, outer)];
    for range in ranges {
        all.extend(around(*range, inner, outer).into_iter().filter(|r| r.count > 0));
    }
    all
}

/// `range` in up to three pieces that neither map `outer` nor give `inner`.
fn around(range: IdRange, inner: u32, outer: u32) -> [IdRange; 3] {
    let within = |id: u32, first: u32| {
        id >= first && u64::from(id) <= u64::from(first) + u64::from(range.count)
    };
    let overlaps = within(outer, range.outer) || within(inner, range.inner);
    let count = if overlaps { range.count.saturating_sub(1) } else { range.count };
    let inner_at = inner.saturating_sub(range.inner).min(count);
    let outer_at = outer.saturating_sub(range.outer).min(count);
    let step = |id: u32, taken: u32| id.wrapping_add(u32::from(id == taken));

    let low = IdRange { count: inner_at.min(outer_at), ..range };
    let middle = IdRange {
        inner: step(low.inner.wrapping_add(low.count), inner),
        outer: step(low.outer.wrapping_add(low.count), outer),
        count: inner_at.abs_diff(outer_at),
    };
    let high = IdRange {
        inner: step(middle.inner.wrapping_add(middle.count), inner),
        outer: step(middle.outer.wrapping_add(middle.count), outer),
        count: count - low.count - middle.count,
    };
    [low, middle, high]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn range(inner: u32, outer: u32, count: u32) -> IdRange {
        IdRange { inner, outer, count }
    }

    #[test]
    fn root_first_and_the_subordinate_ids_behind_it() {
        // unshare --map-root-user --map-auto for uid 1000 with 100000:65536.
        let map = with_single(&[range(0, 100_000, 65_536)], Some((0, 1000)));
        assert_eq!(map, [range(0, 1000, 1), range(1, 100_000, 65_535)]);
        assert_eq!(lines(&map), "0 1000 1\n1 100000 65535\n");
    }

    #[test]
    fn the_current_user_splits_the_range() {
        // unshare --map-current-user --map-auto
        let map = with_single(&[range(0, 100_000, 65_536)], Some((1000, 1000)));
        assert_eq!(
            map,
            [range(1000, 1000, 1), range(0, 100_000, 1000), range(1001, 101_000, 64_535)]
        );
    }

    #[test]
    fn without_a_single_id_ranges_stay() {
        assert_eq!(with_single(&[range(0, 5, 3)], None), [range(0, 5, 3)]);
    }

    proptest! {
        #[test]
        fn no_id_is_mapped_twice(
            inner in 0u32..200, outer in 0u32..200,
            from in 0u32..200, to in 0u32..200, count in 0u32..100,
        ) {
            let map = with_single(&[range(from, to, count)], Some((inner, outer)));
            let ids = |start: fn(&IdRange) -> u32| {
                let mut all: Vec<u32> = map.iter().flat_map(|r| start(r)..start(r) + r.count).collect();
                let length = all.len();
                all.sort_unstable();
                all.dedup();
                (length, all.len())
            };
            let (length, distinct) = ids(|r| r.inner);
            prop_assert_eq!(length, distinct);
            let (length, distinct) = ids(|r| r.outer);
            prop_assert_eq!(length, distinct);
        }
    }
}
