//! Plots as SVG, by hand: axes with units, ticks at round numbers, one line a series. Colours and letters come from the page's style.

use maud::{Markup, html};

/// Width of a plot, in its own units.
pub const WIDTH: f64 = 760.0;
/// Height.
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 48.0;

/// A line of a plot.
#[derive(Debug, Clone)]
pub struct Series {
    /// What it is called in the key.
    pub name: String,
    /// The class that colours it: `a`, `b`, `a light`, ...
    pub class: &'static str,
    /// From left to right, in the units of the axes.
    pub points: Vec<(f64, f64)>,
}

/// An axis: what is written beside it, its range, its ticks with their words.
#[derive(Debug, Clone)]
pub struct Axis {
    /// With the unit.
    pub title: String,
    /// Its ticks, from the least.
    pub ticks: Vec<(f64, String)>,
    /// Least and most.
    pub range: (f64, f64),
    /// Whether it grows by factors.
    pub logarithmic: bool,
}

impl Axis {
    /// From 0 to a round number above `most`.
    pub fn linear(title: impl Into<String>, most: f64, words: impl Fn(f64) -> String) -> Self {
        let step = round_step(most / 5.0);
        let count = (most / step).ceil().max(1.0);
        let ticks = (0..=count as u32).map(|number| f64::from(number) * step);
        Self {
            title: title.into(),
            ticks: ticks.map(|at| (at, words(at))).collect(),
            range: (0.0, count * step),
            logarithmic: false,
        }
    }

    /// By decades, with 2 and 5 between.
    pub fn decades(
        title: impl Into<String>,
        least: f64,
        most: f64,
        words: impl Fn(f64) -> String,
    ) -> Self {
        let least = least.max(1e-6);
        let (from, to) = (
            least.log10().floor() as i32,
            most.max(least * 1.01).log10().ceil() as i32,
        );
        let steps: &[f64] = if to - from > 3 {
            &[1.0]
        } else {
            &[1.0, 2.0, 5.0]
        };
        let all =
            (from..=to).flat_map(|power| steps.iter().map(move |step| step * 10_f64.powi(power)));
        let all: Vec<f64> = all.filter(|at| *at <= 10_f64.powi(to) * 1.001).collect();
        let low = all
            .iter()
            .copied()
            .rfind(|at| *at <= least * 1.001)
            .unwrap_or(least);
        let high = all
            .iter()
            .copied()
            .find(|at| *at >= most * 0.999)
            .unwrap_or(most);
        let ticks = all.into_iter().filter(|at| (low..=high).contains(at));
        Self {
            title: title.into(),
            ticks: ticks.map(|at| (at, words(at))).collect(),
            range: (low, high),
            logarithmic: true,
        }
    }

    /// Where a value stands between the ends, 0 to 1.
    fn place(&self, value: f64) -> f64 {
        let (low, high) = self.range;
        let share = if self.logarithmic {
            (value.max(low) / low).ln() / (high / low).ln()
        } else {
            (value - low) / (high - low)
        };
        if share.is_finite() {
            share.clamp(0.0, 1.0)
        } else {
            0.0
        }
    }
}

/// 1, 2 or 5 times a power of ten, at least so large.
fn round_step(least: f64) -> f64 {
    if least <= 0.0 || !least.is_finite() {
        return 1.0;
    }
    let power = 10_f64.powf(least.log10().floor());
    let factor = [1.0, 2.0, 5.0]
        .into_iter()
        .find(|it| it * power >= least * 0.999);
    factor.unwrap_or(10.0) * power
}

/// Draws lines over axes; `told` says in words what it shows, for those who do not see it.
pub fn lines(told: &str, x: &Axis, y: &Axis, series: &[Series]) -> Markup {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let at_x = |value: f64| LEFT + x.place(value) * (right - LEFT);
    let at_y = |value: f64| bottom - y.place(value) * (bottom - TOP);
    html! {
        svg.plot role="img" aria-label=(told) viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } {
            @for (value, words) in &y.ticks {
                line.grid x1=(LEFT) x2=(right) y1=(fixed(at_y(*value))) y2=(fixed(at_y(*value))) {}
                text.tick.end x=(LEFT - 8.0) y=(fixed(at_y(*value) + 4.0)) { (words) }
            }
            @for (value, words) in &x.ticks {
                line.grid x1=(fixed(at_x(*value))) x2=(fixed(at_x(*value))) y1=(TOP) y2=(bottom) {}
                text.tick.middle x=(fixed(at_x(*value))) y=(bottom + 18.0) { (words) }
            }
            line.axis x1=(LEFT) x2=(right) y1=(bottom) y2=(bottom) {}
            line.axis x1=(LEFT) x2=(LEFT) y1=(TOP) y2=(bottom) {}
            text.title x=(LEFT - 60.0) y="14" { (y.title) }
            text.title.middle x=(f64::midpoint(LEFT, right)) y=(HEIGHT - 8.0) { (x.title) }
            @for line in series {
                @let at: Vec<_> = line.points.iter().map(|(px, py)| (at_x(*px), at_y(*py))).collect();
                polyline.(line.class) points=(path(&at)) {}
                @if at.len() <= 40 {
                    @for (cx, cy) in &at { circle.(line.class) cx=(fixed(*cx)) cy=(fixed(*cy)) r="2.5" {} }
                }
            }
        }
        @if series.len() > 1 {
            p.key {
                @for line in series {
                    span { svg.swatch viewBox="0 0 24 8" { line.(line.class) x1="0" x2="24" y1="4" y2="4" {} } " " (line.name) }
                }
            }
        }
    }
}

fn path(points: &[(f64, f64)]) -> String {
    let points: Vec<_> = points
        .iter()
        .map(|(x, y)| format!("{},{}", fixed(*x), fixed(*y)))
        .collect();
    points.join(" ")
}

/// To a tenth of a unit: no screen shows more.
pub fn fixed(value: f64) -> String {
    format!("{value:.1}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover_the_range() {
        for (most, step) in [
            (1.0, 0.2),
            (17.0, 5.0),
            (9_999.0, 2_000.0),
            (0.003, 0.001),
            (0.0, 1.0),
        ] {
            let axis = Axis::linear("x", most, |at| at.to_string());
            assert!(axis.range.1 >= most);
            assert!(
                (axis.ticks[1].0 - step).abs() < 1e-9,
                "{most}: {:?}",
                axis.ticks
            );
            assert!(axis.ticks.len() <= 7);
        }
        let axis = Axis::decades("x", 0.0003, 0.04, |at| at.to_string());
        assert!(axis.range.0 <= 0.0003 && axis.range.1 >= 0.04, "{axis:?}");
        assert!(axis.ticks.len() >= 4);
        let at = |value, place: f64| (axis.place(value) - place).abs() < 1e-9;
        assert!(at(0.0002, 0.0) && at(1.0, 1.0));
    }
}
