//! Groups of bars as an SVG drawing.

use std::path::Path;

use svg::{
    Document, Node,
    node::element::{Line, Rectangle, Text},
};

use crate::{
    competitor::Competitor,
    failure::{Context, Failure},
};

const BAR: f64 = 15.0;
const GAP: f64 = 26.0;
const LEFT: f64 = 62.0;
const TOP: f64 = 76.0;
const HEIGHT: f64 = 300.0;
const BOTTOM: f64 = 56.0;
/// Of one entry of the legend.
const ENTRY: f64 = 96.0;
/// Of the title, about.
const CHARACTER: f64 = 7.8;
const BLACK: &str = "#222222";
const GREY: &str = "#bbbbbb";

/// A drawing: one group for each row or link, in it one bar for each competitor.
#[derive(Debug)]
pub(crate) struct Chart {
    /// Above the drawing.
    pub(crate) title: String,
    /// What the heights mean.
    pub(crate) unit: &'static str,
    /// From left to right.
    pub(crate) groups: Vec<Group>,
}

/// Bars that are compared with each other.
#[derive(Debug)]
pub(crate) struct Group {
    /// Below it, three lines at most.
    pub(crate) label: String,
    /// A line across it: more is not possible.
    pub(crate) limit: Option<f64>,
    /// In the order of competitors.
    pub(crate) bars: Vec<Bar>,
}

/// What one competitor came to.
#[derive(Debug)]
pub(crate) struct Bar {
    /// Whose it is.
    pub(crate) competitor: Competitor,
    /// Its height; none where there is nothing to show.
    pub(crate) value: Option<f64>,
    /// A lighter part above it, up to this.
    pub(crate) upper: Option<f64>,
    /// Written instead of a bar.
    pub(crate) missing: &'static str,
}

impl Chart {
    /// Writes the drawing.
    pub(crate) fn save(&self, path: &Path) -> Result<(), Failure> {
        let bars: usize = self.groups.iter().map(|group| group.bars.len()).sum();
        let legend = self.competitors().len() as f64 * ENTRY;
        let title = self.title.chars().count() as f64 * CHARACTER;
        let width = LEFT + (bars as f64 * BAR + self.groups.len() as f64 * GAP).max(legend).max(title) + GAP;
        let height = TOP + HEIGHT + BOTTOM;
        let mut drawing = Document::new().set("viewBox", (0, 0, width, height)).set("font-family", "sans-serif");
        drawing.append(rectangle(0.0, 0.0, width, height, "#ffffff", 1.0));
        drawing.append(text(&self.title, LEFT, 22.0, 15.0, "start"));
        self.legend(&mut drawing);
        let scale = self.scale();
        self.axis(&mut drawing, &scale, width);
        let mut left = LEFT + GAP / 2.0;
        for group in &self.groups {
            group.draw(&mut drawing, &scale, left);
            left += group.bars.len() as f64 * BAR + GAP;
        }
        svg::save(path, &drawing).context(path.display())
    }

    fn competitors(&self) -> Vec<Competitor> {
        let mut competitors: Vec<_> = self.bars().map(|bar| bar.competitor).collect();
        competitors.sort();
        competitors.dedup();
        competitors
    }

    fn bars(&self) -> impl Iterator<Item = &Bar> {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn legend(&self, drawing: &mut impl Node) {
        for (place, competitor) in self.competitors().into_iter().enumerate() {
            let left = LEFT + place as f64 * ENTRY;
            drawing.append(rectangle(left, 36.0, 11.0, 11.0, colour(competitor), 1.0));
            drawing.append(text(&competitor.name(), left + 16.0, 46.0, 12.0, "start"));
        }
    }

    fn scale(&self) -> Scale {
        let values = self.bars().flat_map(|bar| [bar.value, bar.upper]).flatten();
        let limits = self.groups.iter().filter_map(|group| group.limit);
        Scale { high: values.chain(limits).fold(f64::MIN_POSITIVE, f64::max) * 1.05 }
    }

    fn axis(&self, drawing: &mut impl Node, scale: &Scale, width: f64) {
        for tick in scale.ticks() {
            let y = scale.y(tick);
            drawing.append(line(LEFT, y, width - GAP / 2.0, y, GREY, 0.5));
            drawing.append(text(&tick.to_string(), LEFT - 6.0, y + 4.0, 11.0, "end"));
        }
        drawing.append(text(self.unit, 8.0, TOP - 12.0, 12.0, "start"));
    }
}

impl Group {
    fn draw(&self, drawing: &mut impl Node, scale: &Scale, left: f64) {
        let right = left + self.bars.len() as f64 * BAR;
        for (place, bar) in self.bars.iter().enumerate() {
            bar.draw(drawing, scale, left + place as f64 * BAR);
        }
        if let Some(limit) = self.limit {
            let y = scale.y(limit);
            drawing.append(line(left - 4.0, y, right + 4.0, y, BLACK, 1.5));
        }
        drawing.append(line(left - 4.0, TOP + HEIGHT, right + 4.0, TOP + HEIGHT, BLACK, 1.0));
        for (line, y) in self.label.lines().zip([18.0, 32.0, 46.0]) {
            drawing.append(text(line, f64::midpoint(left, right), TOP + HEIGHT + y, 10.0, "middle"));
        }
    }
}

impl Bar {
    fn draw(&self, drawing: &mut impl Node, scale: &Scale, left: f64) {
        let bottom = TOP + HEIGHT;
        let Some(value) = self.value else {
            let (x, y) = (left + BAR / 2.0 + 4.0, bottom - 4.0);
            let upright = text(self.missing, x, y, 11.0, "start").set("transform", format!("rotate(-90 {x} {y})"));
            drawing.append(upright);
            return;
        };
        let mut draw = |value: f64, opacity| {
            let top = scale.y(value);
            drawing.append(rectangle(left + 1.0, top, BAR - 2.0, bottom - top, colour(self.competitor), opacity));
        };
        if let Some(upper) = self.upper {
            draw(upper, 0.35);
        }
        draw(value, 1.0);
    }
}

/// From values to heights.
#[derive(Debug)]
struct Scale {
    high: f64,
}

impl Scale {
    fn y(&self, value: f64) -> f64 {
        TOP + HEIGHT * (1.0 - value / self.high)
    }

    fn ticks(&self) -> Vec<f64> {
        let rough = self.high / 5.0;
        let power = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let ticks = (0..).map(|count| f64::from(count) * step);
        // Multiples of a tenth are not exact.
        ticks.take_while(|tick| *tick <= self.high).map(|tick| (tick * 1e6).round() / 1e6).collect()
    }
}

/// The same in every drawing.
fn colour(competitor: Competitor) -> &'static str {
    match competitor {
        Competitor::Raw => "#7f7f7f",
        Competitor::Tcp | Competitor::TcpCubic => "#8c6d31",
        Competitor::TcpBbr => "#d6b656",
        Competitor::Connector => "#6baed6",
        Competitor::ConnectorCubic => "#9e9ac8",
        Competitor::ConnectorBbr3 => "#54278f",
        Competitor::Funnel => "#08519c",
        Competitor::Dumbpipe => "#d6616b",
        Competitor::Ssh => "#31a354",
        Competitor::SshQos => "#a1d99b",
    }
}

fn rectangle(x: f64, y: f64, width: f64, height: f64, fill: &str, opacity: f64) -> Rectangle {
    let place = Rectangle::new().set("x", x).set("y", y).set("width", width).set("height", height.max(0.0));
    place.set("fill", fill).set("fill-opacity", opacity)
}

fn line(x1: f64, y1: f64, x2: f64, y2: f64, colour: &str, width: f64) -> Line {
    let place = Line::new().set("x1", x1).set("y1", y1).set("x2", x2).set("y2", y2);
    place.set("stroke", colour).set("stroke-width", width)
}

fn text(content: &str, x: f64, y: f64, size: f64, anchor: &str) -> Text {
    let place = Text::new(content).set("x", x).set("y", y).set("font-size", size);
    place.set("text-anchor", anchor).set("fill", BLACK)
}
