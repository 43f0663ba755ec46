//! Median and 95th percentile of a handful of samples.

/// What is said about samples. The unit is that of the samples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    pub n: usize,
    pub median: f64,
    /// By nearest rank: a sample that was measured. The largest one below
    /// twenty samples.
    pub p95: f64,
}

impl Summary {
    /// `None` when there are no samples.
    pub fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let n = sorted.len();
        let rank = (n * 95).div_ceil(100).checked_sub(1)?;
        let median = f64::midpoint(sorted[(n - 1) / 2], sorted[n / 2]);
        Some(Self { n, median, p95: sorted[rank] })
    }
}

#[cfg(test)]
#[allow(dead_code, unused_imports)] // the benchmark itself has no harness: tests/bench.rs
mod tests {
    use super::*;

    fn of(samples: &[f64]) -> (f64, f64) {
        let summary = Summary::of(samples).unwrap();
        assert_eq!(summary.n, samples.len());
        (summary.median, summary.p95)
    }

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middle_ones() {
        assert_eq!(of(&[3.0, 1.0, 2.0]).0.to_bits(), 2f64.to_bits());
        assert_eq!(of(&[4.0, 1.0, 2.0, 3.0]).0.to_bits(), 2.5f64.to_bits());
    }

    #[test]
    fn p95_is_the_sample_of_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100u8).rev().map(f64::from).collect();
        assert_eq!(of(&hundred).1.to_bits(), 95f64.to_bits());
        assert_eq!(of(&hundred[..40]).1.to_bits(), 98f64.to_bits());
        assert_eq!(of(&[1.0, 5.0, 2.0]).1.to_bits(), 5f64.to_bits());
    }

    #[test]
    fn one_sample_is_both_and_none_is_nothing() {
        assert_eq!(Summary::of(&[7.0]), Some(Summary { n: 1, median: 7.0, p95: 7.0 }));
        assert_eq!(Summary::of(&[]), None);
    }
}
