//! Cost against size, as SVG charts: whether a line rises tells how a cost grows, which no single ratio does.

use std::{error::Error, fs, path::Path};

use plotters::prelude::*;

use crate::{
    driver::{Driver, Series},
    meter::Pace,
    options::Measure,
    workload::{Unit, Workload, grouped},
};

struct Chart {
    file: &'static str,
    workload: &'static str,
    title: &'static str,
    x: &'static str,
    sizes: &'static [usize],
}

const LENGTHS: &[usize] = &[1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000];
const COUNTS: &[usize] = &[1_000, 10_000, 100_000, 1_000_000];
const THREADS: &[usize] = &[1, 2, 4, 8];

#[rustfmt::skip]
const CHARTS: &[Chart] = &[
    Chart { file: "queue-closures", workload: "W1a-cb", title: "Post closures on the loop's thread and run them",
        x: "closures in the queue", sizes: LENGTHS },
    Chart { file: "queue-messages", workload: "W1a-msg", title: "Send messages on the loop's thread and handle them",
        x: "messages in the queue", sizes: LENGTHS },
    Chart { file: "threads-closures", workload: "W2-cb", title: "Post closures from other threads",
        x: "posting threads", sizes: THREADS },
    Chart { file: "threads-messages", workload: "W2-msg", title: "Send messages from other threads",
        x: "sending threads", sizes: THREADS },
    Chart { file: "timers-insert", workload: "W4a", title: "Insert a timer", x: "timers", sizes: COUNTS },
    Chart { file: "timers-cancel", workload: "W4b", title: "Cancel a timer", x: "timers", sizes: COUNTS },
    Chart { file: "timers-fire", workload: "W4c", title: "Fire a timer that is due", x: "timers", sizes: COUNTS },
    Chart { file: "fds", workload: "W5", title: "Serve an fd that is ready, 100 at most in a turn",
        x: "fds that are watched", sizes: &[1, 10, 100, 1_000, 10_000] },
];

/// Measures what the charts show, and writes them into `directory`.
pub fn draw(directory: &Path, measure: &Measure) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let driver = Driver::new(measure)?;
    for chart in CHARTS.iter().filter(|chart| measure.wants(chart.workload)) {
        let workload = Workload::find(chart.workload).ok_or("a chart is of a workload")?;
        let most = if measure.pace == Pace::Quick { 100_000 } else { usize::MAX };
        let sizes = chart.sizes.iter().filter(|size| **size <= most);
        let points: Vec<_> = sizes.map(|size| (*size, driver.measure(workload, *size))).collect();
        let path = directory.join(chart.file).with_extension("svg");
        chart.draw(&path, workload.unit, &lines(&points))?;
        println!("{}", path.display());
    }
    Ok(())
}

/// A contender with its points: size and median.
type Line = (String, Vec<(f64, f64)>);

fn lines(points: &[(usize, Vec<Series>)]) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (size, all) in points {
        for series in all {
            let Some(median) = series.median() else { continue };
            let point = (*size as f64, median);
            match lines.iter_mut().find(|(name, _)| *name == series.contender) {
                Some((_, points)) => points.push(point),
                None => lines.push((series.contender.clone(), vec![point])),
            }
        }
    }
    lines
}

impl Chart {
    fn draw(&self, path: &Path, unit: Unit, lines: &[Line]) -> Result<(), Box<dyn Error>> {
        let points = || lines.iter().flat_map(|(_, points)| points);
        let (left, right) = (self.sizes[0] as f64, points().map(|point| point.0).fold(2.0, f64::max));
        let low = points().map(|point| point.1).fold(f64::MAX, f64::min);
        let high = points().map(|point| point.1).fold(0.0, f64::max);

        let whole = SVGBackend::new(path, (800, 500)).into_drawing_area();
        whole.fill(&WHITE)?;
        let (area, legend) = whole.split_horizontally(670);
        let (low, high) = (low / 1.2, high * 1.2);
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(16)
            .margin_right(24)
            .x_label_area_size(46)
            .y_label_area_size(76)
            .build_cartesian_2d(
                (left..right).log_scale().with_key_points(self.sizes.iter().map(|size| *size as f64).collect()),
                (low..high).log_scale().with_key_points(ticks(low, high)),
            )?;
        chart
            .configure_mesh()
            .x_desc(self.x)
            .y_desc(format!("{} for each", unit.name()))
            .x_labels(self.sizes.len())
            .y_labels(20)
            .max_light_lines(0)
            .x_label_formatter(&|x| grouped(x.round() as usize))
            .y_label_formatter(&|y| grouped(y.round() as usize))
            .label_style(("sans-serif", 13))
            .axis_desc_style(("sans-serif", 15))
            .bold_line_style(RGBColor(215, 215, 215))
            .draw()?;
        for (index, (name, points)) in lines.iter().enumerate() {
            let color = color(name, index);
            let style = color.stroke_width(if name == "alooper" { 4 } else { 2 });
            chart.draw_series(LineSeries::new(points.iter().copied(), style))?;
            chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, color.filled())))?;

            let y = 70 + 26 * index as i32;
            legend.draw(&PathElement::new([(0, y), (26, y)], style))?;
            legend.draw(&Text::new(name.as_str(), (34, y - 7), ("sans-serif", 14)))?;
        }
        whole.present()?;
        Ok(())
    }
}

/// 1, 2 and 5 of each power of ten, between `low` and `high`.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let powers = (0..10).map(|power| 10_f64.powi(power));
    powers.flat_map(|power| [power, 2.0 * power, 5.0 * power]).filter(|tick| (low..=high).contains(tick)).collect()
}

/// A contender has the same colour in all charts; the palette is that of Okabe and Ito, which colour-blind people can
/// tell apart.
fn color(name: &str, index: usize) -> RGBColor {
    match name {
        "floor" => RGBColor(0, 0, 0),
        "floor_btree" => RGBColor(150, 150, 150),
        "alooper" => RGBColor(213, 94, 0),
        "calloop" => RGBColor(0, 114, 178),
        "calloop_own" => RGBColor(86, 180, 233),
        "tokio" => RGBColor(0, 158, 115),
        "libuv" => RGBColor(204, 121, 167),
        _ if index.is_multiple_of(2) => RGBColor(230, 159, 0),
        _ => RGBColor(240, 228, 66),
    }
}
