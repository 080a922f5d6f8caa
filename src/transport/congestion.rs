//! Congestion control chosen by the length of the path.
//!
//! Cubic, QUIC's usual controller, takes every lost packet for a sign of congestion, and stalls on a long path that loses
//! one packet in a thousand. So a path is controlled by a [`Model`] of what it delivers, until a measured round trip shows
//! that it is short: on short paths packets are lost only to full buffers, and Cubic costs less CPU time.

mod model;
#[cfg(test)]
mod simulation;

use std::{
    any::Any,
    sync::Arc,
    time::{Duration, Instant},
};

use noq_proto::{
    RttEstimator,
    congestion::{Controller, ControllerFactory, ControllerMetrics, Cubic, CubicConfig},
};

use self::model::Model;

/// A path is short if its round-trip time is below this: the same machine, or the same rack.
const SHORT_PATH: Duration = Duration::from_millis(1);

/// Creates the controller of each path.
#[derive(Clone, Copy, Debug)]
pub(super) struct ByPath;

impl ControllerFactory for ByPath {
    fn build(self: Arc<Self>, now: Instant, mtu: u16) -> Box<dyn Controller> {
        Box::new(PathController::Long(Model::new(now, mtu)))
    }
}

#[derive(Clone, Debug)]
enum PathController {
    Long(Model),
    Short(Cubic),
}

/// Creates a Cubic controller that continues from the model's window.
fn cubic(now: Instant, model: &Model) -> Cubic {
    let mut config = CubicConfig::default();
    config.initial_window(model.window());
    Cubic::new(Arc::new(config), now, model.mtu())
}

impl Controller for PathController {
    fn on_packet_sent(&mut self, now: Instant, bytes: u16, pn: u64) {
        match self {
            Self::Long(model) => model.sent(now, bytes.into()),
            Self::Short(cubic) => cubic.on_packet_sent(now, bytes, pn),
        }
    }

    fn on_ack(&mut self, now: Instant, sent: Instant, bytes: u64, pn: u64, app_limited: bool, rtt: &RttEstimator) {
        match self {
            Self::Long(model) => model.acked(sent, bytes),
            Self::Short(cubic) => cubic.on_ack(now, sent, bytes, pn, app_limited, rtt),
        }
    }

    fn on_end_acks(&mut self, now: Instant, in_flight: u64, app_limited: bool, largest: Option<u64>) {
        match self {
            Self::Long(model) => {
                model.end_acks(now, in_flight, app_limited);
                if model.round_trip().is_some_and(|rtt| rtt < SHORT_PATH) {
                    *self = Self::Short(cubic(now, model));
                }
            }
            Self::Short(cubic) => cubic.on_end_acks(now, in_flight, app_limited, largest),
        }
    }

    fn on_packet_lost(&mut self, bytes: u16, pn: u64, now: Instant) {
        match self {
            Self::Long(model) => model.lost(bytes.into()),
            Self::Short(cubic) => cubic.on_packet_lost(bytes, pn, now),
        }
    }

    fn on_congestion_event(
        &mut self,
        now: Instant,
        sent: Instant,
        is_persistent: bool,
        is_ecn: bool,
        lost: u64,
        largest: u64,
    ) {
        match self {
            Self::Long(model) if is_persistent => model.start_small(),
            Self::Long(_) => {}
            Self::Short(cubic) => cubic.on_congestion_event(now, sent, is_persistent, is_ecn, lost, largest),
        }
    }

    fn on_spurious_congestion_event(&mut self) {
        if let Self::Short(cubic) = self {
            cubic.on_spurious_congestion_event();
        }
    }

    fn on_mtu_update(&mut self, mtu: u16) {
        match self {
            Self::Long(model) => model.set_mtu(mtu),
            Self::Short(cubic) => cubic.on_mtu_update(mtu),
        }
    }

    fn window(&self) -> u64 {
        match self {
            Self::Long(model) => model.window(),
            Self::Short(cubic) => cubic.window(),
        }
    }

    fn metrics(&self) -> ControllerMetrics {
        match self {
            Self::Long(model) => {
                let mut metrics = ControllerMetrics::default();
                metrics.congestion_window = model.window();
                metrics.pacing_rate = model.pacing_rate();
                metrics.bandwidth_estimate = model.bandwidth().map(|bytes| bytes * 8);
                metrics
            }
            Self::Short(cubic) => cubic.metrics(),
        }
    }

    fn clone_box(&self) -> Box<dyn Controller> {
        Box::new(self.clone())
    }

    fn initial_window(&self) -> u64 {
        match self {
            Self::Long(model) => model.initial_window(),
            Self::Short(cubic) => cubic.initial_window(),
        }
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        self
    }
}
