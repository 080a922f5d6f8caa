//! Strangers, each told of once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use iroh::EndpointId;

/// One who comes with many names ends the logging, not the disk.
const MAX_STRANGERS: usize = 256;

#[derive(Clone, Debug, Default)]
pub(crate) struct Strangers(Arc<Mutex<HashSet<EndpointId>>>);

impl Strangers {
    /// Lets `tell` tell of `peer`, unless it was told of before or there are too many.
    pub(crate) fn notice(&self, peer: EndpointId, tell: impl FnOnce()) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_STRANGERS && known.insert(peer) {
            tell();
        }
    }
}
