//! Sorted sequences of entries as one, and the rule that says which runs are worth being made one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::io;

use super::Entry;

/// Hands the entries of `sources`, each of which is in order, over in order; equal ones once.
///
/// # Errors
/// The first error of a source or of `each`.
pub(super) fn merge<S>(sources: Vec<S>, mut each: impl FnMut(Entry) -> io::Result<()>) -> io::Result<()>
where
    S: Iterator<Item = io::Result<Entry>>,
{
    let mut sources = sources;
    let mut heads = BinaryHeap::with_capacity(sources.len());
    for (number, source) in sources.iter_mut().enumerate() {
        if let Some(entry) = source.next().transpose()? {
            heads.push(Reverse((entry, number)));
        }
    }
    let mut last = None;
    while let Some(mut head) = heads.peek_mut() {
        let Reverse((entry, number)) = *head;
        match sources[number].next().transpose()? {
            Some(next) => *head = Reverse((next, number)),
            None => {
                PeekMut::pop(head);
            }
        }
        if last != Some(entry) {
            each(entry)?;
            last = Some(entry);
        }
    }
    Ok(())
}

/// Which of the runs with these numbers of entries are to become one; none if they may stay as they are: as long as no more
/// than `of_a_size_max` have about one size. Sizes are distinguished by powers of four, so with few runs of a size each entry
/// is written again once per power.
pub(super) fn due(entries: &[u64], of_a_size_max: usize) -> Vec<usize> {
    let size = |entries: u64| entries.max(1).ilog2() / 2;
    let mut sizes: Vec<u32> = entries.iter().map(|entries| size(*entries)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for wanted in sizes {
        let of_size = |(number, entries): (usize, &u64)| (size(*entries) == wanted).then_some(number);
        let same: Vec<usize> = entries.iter().enumerate().filter_map(of_size).collect();
        if same.len() > of_a_size_max {
            return same;
        }
    }
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::super::fingerprint::Fingerprint;
    use super::*;

    fn source(keys: &[u64]) -> impl Iterator<Item = io::Result<Entry>> + use<> {
        let entry = |key: &u64| Ok(Entry { key: Fingerprint { high: *key, low: 0 }, file: 1 });
        keys.iter().map(entry).collect::<Vec<_>>().into_iter()
    }

    #[test]
    fn sorted_sources_become_one_and_equal_entries_one_entry() {
        let mut merged = Vec::new();
        merge(vec![source(&[1, 4, 4, 9]), source(&[]), source(&[2, 4]), source(&[0, 10])], |entry| {
            merged.push(entry.key.high);
            Ok(())
        })
        .unwrap();
        assert_eq!(merged, [0, 1, 2, 4, 9, 10]);
    }

    #[test]
    fn an_error_of_a_source_ends_the_merge() {
        let broken =
            vec![Ok(Entry { key: Fingerprint { high: 1, low: 0 }, file: 1 }), Err(io::Error::other("x"))];
        assert!(merge(vec![broken.into_iter()], |_| Ok(())).is_err());
    }

    #[test]
    fn runs_of_one_size_become_one_and_a_large_run_is_left_alone() {
        assert_eq!(due(&[1_000_000, 100, 110, 120], 3), Vec::<usize>::new());
        assert_eq!(due(&[1_000_000, 100, 110, 120, 130], 3), [1, 2, 3, 4]);
        assert_eq!(due(&[1_000_000, 100, 110, 120, 130], 4), Vec::<usize>::new());
        assert_eq!(due(&[], 3), Vec::<usize>::new());
    }

    #[test]
    fn the_number_of_runs_grows_with_the_logarithm_of_the_keys() {
        let mut runs: Vec<u64> = Vec::new();
        for new in std::iter::repeat_n(100, 10_000) {
            runs.push(new);
            loop {
                let due = due(&runs, 3);
                if due.is_empty() {
                    break;
                }
                let merged = due.iter().map(|number| runs[*number]).sum();
                for number in due.into_iter().rev() {
                    runs.remove(number);
                }
                runs.push(merged);
            }
        }
        assert!(runs.len() <= 3 * 8, "{} runs of 1,000,000 keys", runs.len());
    }
}
