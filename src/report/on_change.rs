//! Reports that are repeated only when they change.

/// The last value that was reported.
#[derive(Clone, Debug)]
pub(crate) struct OnChange<T>(Option<T>);

impl<T> Default for OnChange<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: PartialEq> OnChange<T> {
    /// Runs `report` with `value` if it differs from the last one.
    pub(crate) fn run(&mut self, value: T, report: impl FnOnce(&T)) {
        self.run_with_last(value, |value, _| report(value));
    }

    /// Runs `report` with `value` and the last one, if they differ.
    pub(crate) fn run_with_last(&mut self, value: T, report: impl FnOnce(&T, Option<T>)) {
        if self.0.as_ref() != Some(&value) {
            let last = self.0.take();
            report(self.0.insert(value), last);
        }
    }

    /// Forgets the last value and returns it. The next one is reported whatever it is.
    pub(crate) fn clear(&mut self) -> Option<T> {
        self.0.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_reported_when_it_changes_and_again_after_it_was_cleared() {
        let (mut last, mut reported) = (OnChange::default(), Vec::new());
        for value in ["down", "down", "refused", "down"] {
            last.run(value, |value| reported.push(*value));
        }
        assert_eq!(last.clear(), Some("down"));
        last.run("down", |value| reported.push(*value));
        assert_eq!(reported, ["down", "refused", "down", "down"]);
        last.run_with_last("down", |_, _| panic!("nothing has changed"));
        last.run_with_last("up", |value, last| assert_eq!((*value, last), ("up", Some("down"))));
    }
}
