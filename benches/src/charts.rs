//! Cost against size, as SVG charts: whether a line rises tells how a cost grows, which no single ratio does.

use std::{fs, path::Path};

use plotters::prelude::*;

use crate::{
    Failure, contenders,
    results::{self, Line},
    workload::{Unit, Workload, grouped},
};

struct Chart {
    file: &'static str,
    workload: &'static str,
    title: &'static str,
    x: &'static str,
}

#[rustfmt::skip]
const CHARTS: &[Chart] = &[
    Chart { file: "queue-closures", workload: "W1a-cb", title: "Post closures on the loop's thread and run them",
        x: "closures in the queue" },
    Chart { file: "queue-messages", workload: "W1a-msg", title: "Send messages on the loop's thread and handle them",
        x: "messages in the queue" },
    Chart { file: "threads-closures", workload: "W2-cb", title: "Post closures from other threads",
        x: "posting threads" },
    Chart { file: "threads-messages", workload: "W2-msg", title: "Send messages from other threads",
        x: "sending threads" },
    Chart { file: "timers-insert", workload: "W4a", title: "Insert a timer", x: "timers" },
    Chart { file: "timers-cancel", workload: "W4b", title: "Cancel a timer", x: "timers" },
    Chart { file: "timers-fire", workload: "W4c", title: "Fire a timer that is due", x: "timers" },
    Chart { file: "fds", workload: "W5", title: "Serve an fd that is ready, 100 at most in a turn",
        x: "fds that are watched" },
];

/// For those who read in the dark. Rules of a style come before the attributes that the backend writes.
const STYLE: &str = "<style>
@media (prefers-color-scheme: dark) {
rect[fill=\"#FFFFFF\"] { fill: #0D1117 }
[fill=\"#000000\"] { fill: #E6EDF3 }
[stroke=\"#000000\"] { stroke: #E6EDF3 }
[stroke=\"#D7D7D7\"] { stroke: #30363D }
}
</style>
";

/// Writes the charts of a file of results into `directory`.
pub fn draw(directory: &Path, results: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    for chart in CHARTS {
        let workload = Workload::find(chart.workload).ok_or("a chart is of a workload")?;
        let (lines, about) = results::lines(results, chart.workload)?;
        if lines.is_empty() {
            println!("{}: nothing of {} was measured", chart.file, chart.workload);
            continue;
        }
        let path = directory.join(chart.file).with_extension("svg");
        chart.draw(&path, workload.unit, &lines, &about)?;
        let svg = fs::read_to_string(&path)?;
        let begin = svg.find('>').ok_or("an SVG begins with its element")? + 1;
        fs::write(&path, format!("{}\n{STYLE}{}", &svg[..begin], svg[begin..].trim_start()))?;
        println!("{}", path.display());
    }
    Ok(())
}

impl Chart {
    fn draw(&self, path: &Path, unit: Unit, lines: &[Line], about: &str) -> Result<(), Failure> {
        let points = || lines.iter().flat_map(|(_, points)| points);
        let mut sizes: Vec<f64> = points().map(|point| point.0).collect();
        sizes.sort_by(f64::total_cmp);
        sizes.dedup();
        let (left, right) = (sizes[0], sizes[sizes.len() - 1].max(2.0));
        let low = points().map(|point| point.1).fold(f64::MAX, f64::min);
        let high = points().map(|point| point.1).fold(0.0, f64::max);

        let whole = SVGBackend::new(path, (1000, 520)).into_drawing_area();
        whole.fill(&WHITE)?;
        let (area, legend) = whole.split_horizontally(690);
        let (low, high) = (low / 1.2, high * 1.2);
        let mut chart = ChartBuilder::on(&area)
            .caption(self.title, ("sans-serif", 20))
            .margin(16)
            .margin_right(24)
            .margin_bottom(34)
            .x_label_area_size(46)
            .y_label_area_size(76)
            .build_cartesian_2d(
                (left..right).log_scale().with_key_points(sizes.clone()),
                (low..high).log_scale().with_key_points(ticks(low, high)),
            )?;
        chart
            .configure_mesh()
            .x_desc(format!("{} (log scale)", self.x))
            .y_desc(format!("{} for each: lower is better (log scale)", unit.name()))
            .x_labels(sizes.len())
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

            let y = 70 + 46 * index as i32;
            legend.draw(&PathElement::new([(0, y), (26, y)], style))?;
            legend.draw(&Text::new(name.as_str(), (34, y - 7), ("sans-serif", 15)))?;
            legend.draw(&Text::new(contenders::explanation(name), (34, y + 11), ("sans-serif", 13)))?;
        }
        whole.draw(&Text::new(about, (16, 500), ("sans-serif", 11)))?;
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
