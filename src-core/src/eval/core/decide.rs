//! From scores to a decision.

/// The option that the reference picks: the first with the lowest mean loss. The mean of no losses is NaN, and comparisons with it
/// are false, as in Python's `min`: if that is the first option's, it stays; another's is passed over.
pub fn lowest_mean(losses: &[Vec<f32>]) -> usize {
    let means: Vec<f64> = losses.iter().map(|losses| mean(losses)).collect();
    (1..means.len()).fold(0, |best, option| if means[option] < means[best] { option } else { best })
}

fn mean(losses: &[f32]) -> f64 {
    losses.iter().copied().map(f64::from).sum::<f64>() / losses.len() as f64
}

/// Whether every token is the likeliest in its place.
pub fn all_likeliest(likeliest: &[u32], tokens: &[u32]) -> bool {
    likeliest == tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_the_lowest_means_wins() {
        assert_eq!(lowest_mean(&[vec![2.0, 4.0], vec![1.0, 2.0], vec![1.5]]), 1);
        assert_eq!(lowest_mean(&[vec![1.0], vec![1.0]]), 0);
        assert_eq!(lowest_mean(&[vec![2.0]]), 0);
    }

    #[test]
    fn an_empty_span_is_what_pythons_min_makes_of_it() {
        assert_eq!(lowest_mean(&[vec![], vec![1.0]]), 0);
        assert_eq!(lowest_mean(&[vec![1.0], vec![]]), 0);
        assert_eq!(lowest_mean(&[vec![2.0], vec![], vec![1.0]]), 2);
        assert_eq!(lowest_mean(&[vec![], vec![], vec![]]), 0);
    }
}
