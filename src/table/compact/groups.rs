//! Which files become one: a pure function of their sizes and times.

use super::CompactionRules;

/// Files that one commit takes at most, so that it and the entries of its files stay of sensible size; the rest is for the
/// next.
const COMMIT_FILES_MAX: usize = 10_000;

/// A file that may be joined with others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The number of its partition.
    pub(super) partition: u32,
    /// When it was written.
    pub(super) modified_ms: i64,
    /// What stands for the file.
    pub(super) identity: u128,
    /// Its bytes without the rows that are deleted from it.
    pub(super) bytes: u64,
    /// Whether so much is deleted from it that it is written again even alone.
    pub(super) is_deleted_from: bool,
}

/// The files that are joined, a file each: neighbours in time of one partition, together no larger than the target. The
/// largest groups come first.
pub(super) fn groups_of(
    mut candidates: Vec<Candidate>,
    target_bytes: u64,
    rules: &CompactionRules,
) -> Vec<Vec<Candidate>> {
    candidates.sort_unstable_by_key(|file| (file.partition, file.modified_ms, file.identity));
    let mut groups = Vec::new();
    for partition in candidates.chunk_by(|one, other| one.partition == other.partition) {
        let mut files = partition.to_vec();
        if rules.spares_large {
            spare_large(&mut files);
        }
        if files.len() < rules.files_min {
            files.retain(|file| file.is_deleted_from);
        }
        groups.extend(packed(&files, target_bytes));
    }
    groups.sort_by_key(|group| std::cmp::Reverse(group.len()));
    groups
}

/// Takes out the largest files while one is larger than all others together: each row is then written again about as often
/// as its partition doubles, not as often as something is appended.
fn spare_large(files: &mut Vec<Candidate>) {
    let mut total: u64 = files.iter().map(|file| file.bytes).sum();
    while let Some((at, largest)) = files.iter().enumerate().max_by_key(|(_, file)| file.bytes) {
        let bytes = largest.bytes;
        if bytes <= total - bytes {
            return;
        }
        total -= bytes;
        files.remove(at);
    }
}

/// Files of one partition in groups of at most the target size, in their order; one that would be alone stays as it is,
/// unless much is deleted from it.
fn packed(files: &[Candidate], target_bytes: u64) -> Vec<Vec<Candidate>> {
    let mut groups: Vec<Vec<Candidate>> = Vec::new();
    let (mut group, mut bytes) = (Vec::new(), 0);
    for file in files {
        if !group.is_empty() && bytes + file.bytes > target_bytes {
            groups.push(std::mem::take(&mut group));
            bytes = 0;
        }
        group.push(*file);
        bytes += file.bytes;
    }
    groups.push(group);
    groups.retain(|group| group.len() > 1 || group.iter().any(|file| file.is_deleted_from));
    groups
}

/// The first groups, as many as one commit takes; one at least.
pub(super) fn within_one_commit(groups: Vec<Vec<Candidate>>, bytes_max: u64) -> Vec<Vec<Candidate>> {
    let (mut files, mut bytes, mut taken) = (0, 0, Vec::new());
    for group in groups {
        files += group.len();
        bytes += group.iter().map(|file| file.bytes).sum::<u64>();
        if !taken.is_empty() && (files > COMMIT_FILES_MAX || bytes > bytes_max) {
            break;
        }
        taken.push(group);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(partition: u32, sizes: &[u64]) -> Vec<Candidate> {
        let file = |(at, bytes): (usize, &u64)| Candidate {
            partition,
            modified_ms: at as i64,
            identity: at as u128,
            bytes: *bytes,
            is_deleted_from: false,
        };
        sizes.iter().enumerate().map(file).collect()
    }

    fn sizes(groups: &[Vec<Candidate>]) -> Vec<Vec<u64>> {
        groups.iter().map(|group| group.iter().map(|file| file.bytes).collect()).collect()
    }

    #[test]
    fn neighbours_in_time_of_one_partition_are_joined_up_to_the_target() {
        let rules = CompactionRules::by_hand();
        let mut all = files(0, &[30, 40, 40, 20, 45, 10]);
        all.extend(files(1, &[7]));
        all.extend(files(2, &[1, 2]));
        all.reverse();
        let groups = groups_of(all, 100, &rules);
        assert_eq!(sizes(&groups), [[30, 40], [40, 20], [45, 10], [1, 2]]);
    }

    #[test]
    fn a_file_that_is_alone_stays_unless_much_is_deleted_from_it() {
        let rules = CompactionRules::by_hand();
        let mut all = files(0, &[99, 98]);
        assert!(groups_of(all.clone(), 100, &rules).is_empty());
        all[1].is_deleted_from = true;
        assert_eq!(sizes(&groups_of(all, 100, &rules)), [[98]]);
    }

    #[test]
    fn of_its_own_accord_it_waits_for_enough_files_and_spares_what_is_larger_than_the_rest() {
        let rules = CompactionRules { files_min: 4, spares_large: true, ..CompactionRules::by_hand() };
        assert!(groups_of(files(0, &[1, 1, 1]), 100, &rules).is_empty());
        assert!(groups_of(files(0, &[50, 1, 1, 1]), 100, &rules).is_empty(), "three are left");
        assert_eq!(sizes(&groups_of(files(0, &[50, 20, 1, 1, 1, 1]), 100, &rules)), [[1, 1, 1, 1]]);
        assert_eq!(sizes(&groups_of(files(0, &[4, 1, 1, 1, 1]), 100, &rules)), [[4, 1, 1, 1, 1]]);
    }

    #[test]
    fn one_commit_takes_a_part_of_very_many_files_and_at_least_one_group() {
        let many: Vec<Vec<Candidate>> = (0..30).map(|group| files(group, &vec![1; 1_000])).collect();
        assert_eq!(within_one_commit(many, 1 << 40).len(), 10);
        let large = vec![files(0, &[200]), files(1, &[1])];
        assert_eq!(within_one_commit(large, 100).len(), 1);
    }
}
