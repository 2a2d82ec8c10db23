//! From the files of one run to the batch in the table: an append, or a run that takes the place of others.
//!
//! Where the stream's definition changed between two runs of a batch, the dead letters of the run that does
//! not count must leave their table: their files are removed in the version that adds the others'.

use super::DeltaAppend;
use crate::model::{Error, Result};
use crate::sink::{BatchCommit, CommitInfo, CommitOutcome, SinkCommit, dead_letter};
use crate::table::{AddedFile, Append, Appended, ChangedBy, Reads, RowChanges};

/// Superseded runs of a batch that one commit replaces before it gives up.
const SUPERSEDED_MAX: u32 = 10;
/// Commits of others that a batch which replaces the table is tried against.
const IN_PLACE_TRIES: u32 = 30;

impl DeltaAppend {
    /// Commits a micro-batch: its files and the stream's transaction in one version.
    ///
    /// # Errors
    /// As for [`crate::table::DeltaTable::append`].
    pub fn commit_files(&mut self, batch: &BatchCommit, files: Vec<AddedFile>) -> Result<CommitOutcome> {
        self.append(batch, files, None)
    }

    /// Commits a micro-batch, if need be in the place of runs of it that had another definition: their
    /// files leave the table in the same version.
    ///
    /// # Errors
    /// As for [`DeltaAppend::commit_files`]; `Conflict` if others keep replacing it too.
    pub fn supersede(&mut self, batch: &BatchCommit, files: Vec<AddedFile>) -> Result<CommitOutcome> {
        self.replace(batch, files, |other| other.definition() == batch.definition_hash)
    }

    /// Commits the letters of lost offsets ([`BatchCommit::of_lost_ranges`]), if need be in the place of those of a
    /// run that knew of less. One that knew of more stays.
    ///
    /// # Errors
    /// As for [`DeltaAppend::supersede`].
    pub fn add_lost(&mut self, lost: &BatchCommit, files: Vec<AddedFile>) -> Result<CommitOutcome> {
        self.replace(lost, files, |other| {
            let known = other.lost();
            lost.lost.iter().all(|range| range.minus(&known).is_empty())
        })
    }

    /// Takes out the letters of lost offsets that another run of the batch added beside those of a third
    /// ([`BatchCommit::of_lost_ranges`]): ours say what was lost.
    ///
    /// # Errors
    /// As for [`DeltaAppend::supersede`].
    pub fn withdraw_lost(&mut self, batch: &BatchCommit) -> Result<()> {
        let none = BatchCommit { lost: Vec::new(), ..batch.clone() }.of_lost_ranges();
        if self.table_mut()?.transaction(&none.query_id)? == Some(none.batch_id) {
            self.supersede(&none, Vec::new())?;
        }
        Ok(())
    }

    /// Commits a micro-batch in the place of runs of it that do not `count`.
    fn replace(
        &mut self,
        batch: &BatchCommit,
        files: Vec<AddedFile>,
        counts: impl Fn(&SinkCommit) -> bool,
    ) -> Result<CommitOutcome> {
        let mut replaces = None;
        for _ in 0..SUPERSEDED_MAX {
            match self.append(batch, files.clone(), replaces)? {
                CommitOutcome::AlreadyCommitted { commit: Some(other) }
                    if other.batch_id == batch.batch_id && !counts(&other) =>
                {
                    replaces = other.attempt().map(str::to_owned);
                }
                outcome => return Ok(outcome),
            }
        }
        Err(Error::conflict(format!(
            "other processes keep replacing micro-batch {} of table {}",
            batch.batch_id,
            self.store().url()
        )))
    }

    /// Commits a micro-batch whose files, and what they change of the table's, follow from what the table held at
    /// `read_version`; `None`, and nothing is committed, if the table has moved on.
    ///
    /// # Errors
    /// As for [`DeltaAppend::commit_files`].
    pub(super) fn commit_as_read(
        &mut self,
        batch: &BatchCommit,
        files: Vec<AddedFile>,
        changes: Option<RowChanges>,
        read_version: u64,
    ) -> Result<Option<CommitOutcome>> {
        self.note_commit(files.len());
        let append = Append { reads: Reads::Table(read_version), changes, ..append_of(batch, files) };
        match self.table_mut()?.append(&append)? {
            Appended::MovedOn => Ok(None),
            appended => self.outcome_of(batch, appended).map(Some),
        }
    }

    /// Commits a micro-batch whose rows take the place of all that the table holds: outputMode complete.
    ///
    /// # Errors
    /// As for [`DeltaAppend::commit_files`]; `Conflict` if other writers keep changing the table.
    pub(super) fn commit_in_place(
        &mut self,
        batch: &BatchCommit,
        files: &[AddedFile],
    ) -> Result<CommitOutcome> {
        for _ in 0..IN_PLACE_TRIES {
            let table = self.table_mut()?;
            table.check_rows_can_change(ChangedBy::Replacement)?;
            let (mut removed, read_version) = (Vec::new(), table.version());
            table.live_files(|file| {
                removed.push(file);
                Ok(())
            })?;
            let changes = RowChanges { removed, ..RowChanges::default() };
            if let Some(outcome) = self.commit_as_read(batch, files.to_vec(), Some(changes), read_version)? {
                return Ok(outcome);
            }
        }
        Err(Error::conflict(format!(
            "other writers keep changing table {}, which micro-batch {} replaces",
            self.store().url(),
            batch.batch_id
        )))
    }

    /// A commit adds so many files.
    fn note_commit(&mut self, files: usize) {
        self.compaction.note_files(files);
        self.vacuum.note_commit(self.config.auto_vacuum);
    }

    fn append(
        &mut self,
        batch: &BatchCommit,
        files: Vec<AddedFile>,
        replaces: Option<String>,
    ) -> Result<CommitOutcome> {
        self.note_commit(files.len());
        let mut append = Append { replaces, ..append_of(batch, files) };
        let mut appended = self.table_mut()?.append(&append)?;
        if let (Appended::Rewritten, Some(attempt)) = (&appended, &append.replaces) {
            self.refuse_letters_of(attempt, batch.batch_id)?;
            append.files_may_be_gone = true;
            appended = self.table_mut()?.append(&append)?;
        }
        self.outcome_of(batch, appended)
    }

    fn outcome_of(&mut self, batch: &BatchCommit, appended: Appended) -> Result<CommitOutcome> {
        match appended {
            Appended::Ours(version) => {
                self.newest_of(batch, Some(version));
                Ok(CommitOutcome::Committed { version: Some(version) })
            }
            Appended::Theirs(commit) => {
                let commit = commit.map(SinkCommit::of).transpose()?;
                self.newest_of(batch, commit.as_ref().map(|commit| commit.version));
                Ok(CommitOutcome::AlreadyCommitted { commit })
            }
            Appended::Rewritten => Err(Error::internal("files of no other run were to leave the table")),
            Appended::MovedOn => {
                Err(Error::internal("a commit that has read nothing was refused for what it read"))
            }
        }
    }

    /// Remembers where the newest commit of the batch's query is; that of a query of lost ranges is not asked for.
    fn newest_of(&mut self, batch: &BatchCommit, version: Option<u64>) {
        if batch.is_of_lost_ranges {
            return;
        }
        self.newest = version.map(|version| (batch.query_id.clone(), version));
    }

    /// Dead letters that must leave the table cannot, where they are in a file that another writer made.
    fn refuse_letters_of(&mut self, attempt: &str, batch_id: i64) -> Result<()> {
        let mut left = 0;
        dead_letter::read(self.table_mut()?, &mut |letter| {
            left += u64::from(letter.attempt == attempt);
            Ok(())
        })?;
        if left == 0 {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "dead letters of micro-batch {batch_id} ({left}) must leave table {}, and another writer has rewritten their files",
            self.store().url()
        ))
        .hint(format!("DELETE from that table WHERE attempt = '{attempt}', then start again: nothing is lost by it")))
    }
}

/// The commit of a batch that takes the place of none and has read nothing.
fn append_of(batch: &BatchCommit, files: Vec<AddedFile>) -> Append {
    Append {
        query_id: batch.query_id.clone(),
        batch_id: batch.batch_id,
        attempt: batch.attempt.clone(),
        binding: Some(super::binding_id(&batch.stream, &batch.checkpoint_location)),
        files,
        replaces: None,
        files_may_be_gone: false,
        reads: Reads::Nothing,
        changes: None,
        replaces_table: batch.replaces_table,
        checkpoint: CommitInfo::of(batch).to_json(),
    }
}
