//! Plots in SVG.

use std::error::Error;
use std::path::Path;

use plotters::coord::Shift;
use plotters::prelude::*;

use crate::sample::three_digits;

type Canvas<'a> = DrawingArea<SVGBackend<'a>, Shift>;

const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(127, 127, 127),
    RGBColor(44, 160, 44),
    RGBColor(255, 127, 14),
    RGBColor(148, 103, 189),
];

/// A plot of figures.
#[derive(Clone, Debug)]
pub(crate) struct Plot {
    /// The name of its file in `docs`, without `.svg`.
    pub(crate) file: &'static str,
    pub(crate) title: &'static str,
    pub(crate) shape: Shape,
}

#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// Horizontal bars.
    Bars {
        unit: &'static str,
        bars: Vec<(String, f64)>,
    },
    /// Lines in a chart with two logarithmic axes.
    Lines {
        across: &'static str,
        up: &'static str,
        lines: Vec<Line>,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) points: Vec<(f64, f64)>,
}

impl Plot {
    pub(crate) fn draw(&self, folder: &Path) -> Result<(), String> {
        let file = folder.join(format!("{}.svg", self.file));
        self.draw_into(&file)
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    fn draw_into(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        let height = match &self.shape {
            Shape::Bars { bars, .. } => 70 + 26 * u32::try_from(bars.len())?,
            Shape::Lines { .. } => 420,
        };
        let canvas = SVGBackend::new(file, (820, height)).into_drawing_area();
        canvas.fill(&WHITE)?;
        let canvas = canvas.titled(self.title, ("sans-serif", 17))?;
        match &self.shape {
            Shape::Bars { unit, bars } => draw_bars(&canvas, unit, bars)?,
            Shape::Lines { across, up, lines } => draw_lines(&canvas, across, up, lines)?,
        }
        canvas.present()?;
        Ok(())
    }
}

fn draw_bars(
    canvas: &Canvas<'_>,
    unit: &str,
    bars: &[(String, f64)],
) -> Result<(), Box<dyn Error>> {
    let most = bars.iter().map(|(_, value)| *value).fold(0.0, f64::max);
    let rows = i32::try_from(bars.len())?;
    let mut chart = ChartBuilder::on(canvas)
        .margin_right(90)
        .set_label_area_size(LabelAreaPosition::Left, 330)
        .build_cartesian_2d(0.0..most, (0..rows).into_segmented())?;
    let name = |row: &SegmentValue<i32>| match row {
        SegmentValue::CenterOf(row) => bars
            .iter()
            .rev()
            .nth(usize::try_from(*row).unwrap_or_default())
            .map_or(String::new(), |(name, _)| name.clone()),
        _ => String::new(),
    };
    chart
        .configure_mesh()
        .disable_mesh()
        .disable_x_axis()
        .y_labels(bars.len())
        .y_label_formatter(&name)
        .label_style(("sans-serif", 13))
        .draw()?;
    for (row, (_, value)) in (0..rows).zip(bars.iter().rev()) {
        let corners = [
            (0.0, SegmentValue::Exact(row)),
            (*value, SegmentValue::Exact(row + 1)),
        ];
        let mut bar = Rectangle::new(corners, COLOURS[0].filled());
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar])?;
        let label = format!(" {} {unit}", three_digits(*value));
        let position = (*value, SegmentValue::CenterOf(row));
        chart.draw_series([
            EmptyElement::at(position) + Text::new(label, (2, -6), ("sans-serif", 13))
        ])?;
    }
    Ok(())
}

fn draw_lines(
    canvas: &Canvas<'_>,
    across: &str,
    up: &str,
    lines: &[Line],
) -> Result<(), Box<dyn Error>> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (x, y) = (range(points().map(|p| p.0)), range(points().map(|p| p.1)));
    let mut chart = ChartBuilder::on(canvas)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(75)
        .build_cartesian_2d(x.log_scale(), y.log_scale())?;
    let plain = |value: &f64| without_zeros(&three_digits(*value));
    chart
        .configure_mesh()
        .x_desc(across)
        .y_desc(up)
        .x_label_formatter(&plain)
        .y_label_formatter(&plain)
        .label_style(("sans-serif", 13))
        .light_line_style(WHITE)
        .draw()?;
    for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
        let drawn = LineSeries::new(line.points.iter().copied(), colour.stroke_width(2));
        chart
            .draw_series(drawn.point_size(3))?
            .label(&line.name)
            .legend(|(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(corner(lines))
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

/// The corner of the legend: of the quarters with the fewest points, the first.
fn corner(lines: &[Line]) -> SeriesLabelPosition {
    let points = || lines.iter().flat_map(|line| &line.points);
    let (x, y) = (range(points().map(|p| p.0)), range(points().map(|p| p.1)));
    let (x, y) = ((x.start * x.end).sqrt(), (y.start * y.end).sqrt());
    let within = |is_right: bool, is_upper: bool| {
        let is_within = |p: &&(f64, f64)| (p.0 > x) == is_right && (p.1 > y) == is_upper;
        points().filter(is_within).count()
    };
    let corners = [
        (within(true, false), SeriesLabelPosition::LowerRight),
        (within(true, true), SeriesLabelPosition::UpperRight),
        (within(false, true), SeriesLabelPosition::UpperLeft),
    ];
    let free = corners.into_iter().min_by_key(|(points, _)| *points);
    free.expect("BUG: no corners").1
}

/// A number without decimals that are all zero.
pub(crate) fn without_zeros(number: &str) -> String {
    match number.split_once('.') {
        Some((whole, decimals)) if decimals.bytes().all(|digit| digit == b'0') => whole.to_owned(),
        _ => number.to_owned(),
    }
}

/// The range of all values, with a margin.
fn range(values: impl Iterator<Item = f64> + Clone) -> std::ops::Range<f64> {
    let least = values.clone().fold(f64::INFINITY, f64::min);
    let most = values.fold(0.0, f64::max);
    least * 0.85..most * 1.2
}
