//! Everything that is wrong with a configuration, gathered so that it is reported at once.

use super::origin::Origin;
use crate::model::{Error, Result};

/// Problems in the order in which they were found.
#[derive(Debug, Default)]
pub(super) struct Problems {
    found: Vec<Problem>,
}

#[derive(Debug, PartialEq, Eq)]
struct Problem {
    place: String,
    text: String,
    hint: Option<String>,
}

impl Problems {
    /// Adds a problem of the key at `path` (empty for none), which was given at `origin`.
    pub(super) fn add(&mut self, origin: &Origin, path: &str, text: impl Into<String>) {
        self.push(origin, path, text.into(), None);
    }

    /// The same with what mends it.
    pub(super) fn add_with_hint(
        &mut self,
        origin: &Origin,
        path: &str,
        text: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(origin, path, text.into(), Some(hint.into()));
    }

    fn push(&mut self, origin: &Origin, path: &str, text: String, hint: Option<String>) {
        // A flag or a variable is itself the name that its user knows; a file needs the path too.
        let place = match origin {
            Origin::File { .. } if !path.is_empty() => format!("{origin}: {path}"),
            _ => origin.to_string(),
        };
        let problem = Problem { place, text, hint };
        // What no other layer covers is read with each of them.
        if !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// `Ok` if there are none.
    ///
    /// # Errors
    /// One `Config` error that lists them all.
    pub(super) fn into_result(self) -> Result<()> {
        let Some(first) = self.found.first() else { return Ok(()) };
        if self.found.len() == 1 {
            let error = Error::config(format!("{}: {}", first.place, first.text));
            return Err(match &first.hint {
                Some(hint) => error.hint(hint.clone()),
                None => error,
            });
        }
        let mut message = format!("{} problems in the configuration", self.found.len());
        for problem in &self.found {
            message.push_str(&format!("\n  {}: {}", problem.place, problem.text));
            if let Some(hint) = &problem.hint {
                message.push_str(&format!(" ({hint})"));
            }
        }
        Err(Error::config(message))
    }
}

/// The known name nearest to `name`, if one is near enough to be meant.
pub(crate) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = name.to_lowercase();
    let distance_max = (lower.chars().count() / 3).clamp(1, 4);
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found_without_case_and_far_names_are_not() {
        let known = ["subscribe", "subscribePattern", "assign"];
        assert_eq!(nearest("subscirbe", known), Some("subscribe"));
        assert_eq!(nearest("SUBSCRIBEPATERN", known), Some("subscribePattern"));
        assert_eq!(nearest("colour", known), None);
    }
}
