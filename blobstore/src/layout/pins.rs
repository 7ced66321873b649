//! Records that somebody reads in parts: their bytes are not wiped meanwhile.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blob::Location;

#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<HashMap<Location, usize>>);

/// Held as long as the record is read.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    at: Location,
}

impl Pins {
    pub(crate) fn pin(self: &Arc<Self>, at: Location) -> Pin {
        *self.lock().entry(at).or_default() += 1;
        Pin {
            pins: Arc::clone(self),
            at,
        }
    }

    pub(crate) fn is_pinned(&self, at: Location) -> bool {
        self.lock().contains_key(&at)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Location, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut pins = self.pins.lock();
        if let Some(count) = pins.get_mut(&self.at) {
            *count -= 1;
            if *count == 0 {
                pins.remove(&self.at);
            }
        }
    }
}
