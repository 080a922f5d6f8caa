//! Hides log lines of libraries that report as a problem what is none.

use std::fmt::{self, Write};

use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::layer::{Context, Layer};

/// Target and text of each line.
///
/// - iroh 1.4 reports its own `Endpoint::close` as an error: the task that reads from relays may end before the one that reads
///   from it. An end of that task for another reason is a panic, which is reported by itself.
/// - noq-proto 1.4 warns that it keeps a connection's only path, which has been idle for too long. What becomes of the
///   connection is reported by its owner.
///
/// A row can be removed once the library is silent there.
const EXPECTED: &[(&str, &str)] = &[
    ("iroh::socket::transports::relay", "relay_recv_channel closed"),
    ("noq_proto::connection", "failed closing path"),
];

/// A layer that disables the expected lines for all others.
pub(crate) struct Expected;

impl<S: Subscriber> Layer<S> for Expected {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        let target = event.metadata().target();
        let texts = EXPECTED.iter().filter(|(of, _)| *of == target).map(|(_, text)| *text);
        texts.clone().next().is_none() || {
            let mut message = Message::default();
            event.record(&mut message);
            !texts.into_iter().any(|text| text == message.0)
        }
    }
}

/// The text of an event.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            // A String takes everything.
            let _ = write!(self.0, "{value:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use tracing::{error, warn};
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Output(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_expected_line_is_hidden_and_every_other_one_is_shown() {
        let output = Output::default();
        let writer = output.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish().with(Expected);
        tracing::subscriber::with_default(subscriber, || {
            error!(target: "iroh::socket::transports::relay", "relay_recv_channel closed");
            error!(target: "iroh::socket::transports::relay", "another problem");
            warn!("relay_recv_channel closed");
        });
        let text = String::from_utf8(output.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("another problem") && text.contains("WARN"), "{text}");
    }
}
