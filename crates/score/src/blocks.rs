//! Rows in blocks of a few sizes, so that a kernel never sees another number of rows, and a row's bits cannot depend on how many came with it.

use std::ops::Range;

use crate::{Port, RunError, Runtime, Tensor, Values, sample};

/// Rows of blocks, where the file does not fix them: few, so that one row alone is not slow, and many, so that a call's own cost is shared. The many are taken only if they give
/// each row what the few give.
pub(crate) const BLOCKS: [usize; 2] = [8, 64];

/// Runs rows in blocks of the given sizes, smaller ones first: the greatest as often as it is filled, the rest in the smallest, its last one filled up with its own last row.
pub(crate) fn run_blocks(
    runtime: Runtime,
    ports: &[Port],
    sizes: &[usize],
    inputs: &[Tensor],
    mut run: impl FnMut(usize, Vec<Tensor>) -> Result<Vec<Tensor>, String>,
) -> Result<Vec<Tensor>, RunError> {
    let rows = check(ports, inputs)?;
    let (least, most) = (sizes[0], sizes[sizes.len() - 1]);
    let mut outputs: Vec<Tensor> = Vec::new();
    let mut start = 0;
    // Of no rows one block is run too: what comes out of none has dimensions.
    while start < rows || outputs.is_empty() {
        let size = if rows - start >= most { most } else { least };
        let taken = start..rows.min(start + size);
        let filled = inputs.iter().map(|input| fill(input, taken.clone(), size)).collect();
        let given = run(size, filled).and_then(|given| whole(given, size)).map_err(|reason| RunError::Failed { runtime, reason })?;
        append(&mut outputs, given, taken.len()).map_err(|reason| RunError::Failed { runtime, reason })?;
        start += taken.len().max(1);
    }
    Ok(outputs)
}

/// The inputs' number of rows.
pub(crate) fn check(ports: &[Port], inputs: &[Tensor]) -> Result<usize, RunError> {
    if ports.len() != inputs.len() {
        return Err(RunError::Inputs(format!("{} inputs were given · the model takes {}", inputs.len(), ports.len())));
    }
    let mut all = None;
    for (input, port) in inputs.iter().zip(ports) {
        let rows = input.fits(port).map_err(RunError::Inputs)?;
        if *all.get_or_insert(rows) != rows {
            return Err(RunError::Inputs(format!("input `{}` has {rows} rows · others have {}", port.name, all.unwrap_or(0))));
        }
    }
    Ok(all.unwrap_or(0))
}

fn fill(input: &Tensor, taken: Range<usize>, block: usize) -> Tensor {
    let width = input.width();
    let mut filled = if taken.is_empty() { zeros(input, block) } else { input.slice(taken.clone()) };
    let last = taken.end.saturating_sub(1);
    while filled.values.len() < block * width {
        filled.values.extend(&input.values, last * width..(last + 1) * width);
    }
    filled.shape[0] = block;
    filled
}

/// A block in place of no rows.
fn zeros(input: &Tensor, block: usize) -> Tensor {
    let mut shape = input.shape.clone();
    shape[0] = block;
    let count = shape.iter().product();
    let values = match &input.values {
        Values::Float32(_) => Values::Float32(vec![0.0; count]),
        Values::Float64(_) => Values::Float64(vec![0.0; count]),
        Values::Int32(_) => Values::Int32(vec![0; count]),
        Values::Int64(_) => Values::Int64(vec![0; count]),
        Values::Bool(_) => Values::Bool(vec![false; count]),
        Values::Text(_) => Values::Text(vec![String::new(); count]),
    };
    Tensor { shape, values }
}

/// The outputs, if each has a row for each that went in.
fn whole(given: Vec<Tensor>, block: usize) -> Result<Vec<Tensor>, String> {
    match given.iter().find(|output| output.shape.first() != Some(&block)) {
        None => Ok(given),
        Some(output) => Err(format!("of {block} rows an output with the dimensions {:?} came", output.shape)),
    }
}

fn append(outputs: &mut Vec<Tensor>, given: Vec<Tensor>, rows: usize) -> Result<(), String> {
    if outputs.is_empty() {
        *outputs = given.iter().map(|output| output.slice(0..rows)).collect();
        return Ok(());
    }
    for (output, given) in outputs.iter_mut().zip(given) {
        if output.shape[1..] != given.shape[1..] {
            return Err(format!("an output's rows have the dimensions {:?}, and then {:?}", &output.shape[1..], &given.shape[1..]));
        }
        output.values.extend(&given.values, 0..rows * given.width());
        output.shape[0] += rows;
    }
    Ok(())
}

/// Whether a row's outputs are its own in blocks of all these sizes: at every place, beside whatever rows.
pub(crate) fn independent(
    ports: &[Port],
    sizes: &[usize],
    mut run: impl FnMut(usize, Vec<Tensor>) -> Result<Vec<Tensor>, String>,
) -> Result<bool, String> {
    let most = sizes[sizes.len() - 1];
    let rows = sample(ports, 2 * most, 11);
    let mut first: Vec<Option<Vec<Tensor>>> = vec![None; 2 * most];
    for size in sizes {
        // Each of the first rows stands at each of eight places; what a larger block does elsewhere is what it does there.
        for shift in 0..(*size).min(BLOCKS[0]) {
            let places: Vec<usize> = (0..*size).map(|place| (place + shift) % size).collect();
            // The second half goes the other way round, so that a row meets other rows at each place.
            let others = places.iter().map(|row| 2 * most - 1 - row).collect();
            let mixed = places.iter().enumerate().map(|(place, row)| if place % 2 == 0 { *row } else { most + row }).collect();
            for chosen in [places.clone(), others, mixed] {
                let inputs = rows.iter().map(|tensor| gather(tensor, &chosen)).collect();
                if !as_before(&mut first, &chosen, &whole(run(*size, inputs)?, *size)?) {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// Whether each row's outputs are those that it had when it was seen first.
fn as_before(first: &mut [Option<Vec<Tensor>>], rows: &[usize], outputs: &[Tensor]) -> bool {
    rows.iter().enumerate().all(|(place, row)| {
        let own: Vec<Tensor> = outputs.iter().map(|output| output.slice(place..place + 1)).collect();
        first[*row].get_or_insert_with(|| own.clone()).iter().zip(&own).all(|(before, own)| before.same(own))
    })
}

fn gather(tensor: &Tensor, rows: &[usize]) -> Tensor {
    let width = tensor.width();
    let mut shape = tensor.shape.clone();
    shape[0] = rows.len();
    let mut values = Values::none(tensor.values.element());
    for row in rows {
        values.extend(&tensor.values, row * width..(row + 1) * width);
    }
    Tensor { shape, values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Element;

    fn port() -> Port {
        Port { name: "x".to_owned(), element: Element::Float32, width: vec![Some(2)], labels: None }
    }

    fn floats(tensor: &Tensor) -> Vec<f32> {
        match &tensor.values {
            Values::Float32(values) => values.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// The sum of each row's values, or of all rows' before it too.
    fn sums(inputs: &[Tensor], running: bool) -> Vec<Tensor> {
        let mut before = 0.0;
        let values = floats(&inputs[0]);
        let rows = values.chunks(2).map(|row| {
            let sum = row[0] + row[1] + before;
            before = if running { sum } else { 0.0 };
            sum
        });
        let values: Vec<f32> = rows.collect();
        vec![Tensor { shape: vec![values.len()], values: Values::Float32(values) }]
    }

    #[test]
    fn a_kernel_sees_blocks_of_few_sizes() {
        let cases: [(usize, &[usize]); 7] = [(0, &[4]), (1, &[4]), (4, &[4]), (5, &[4, 4]), (9, &[4, 4, 4]), (12, &[12]), (26, &[12, 12, 4])];
        for (rows, wanted) in cases {
            let input = Tensor { shape: vec![rows, 2], values: Values::Float32((0..rows * 2).map(|value| value as f32).collect()) };
            let mut seen = Vec::new();
            let outputs = run_blocks(Runtime::Tract, &[port()], &[4, 12], &[input], |size, block| {
                assert_eq!(block[0].shape, [size, 2]);
                seen.push(size);
                Ok(sums(&block, false))
            });
            let outputs = outputs.unwrap();
            assert_eq!(seen, wanted);
            assert_eq!(floats(&outputs[0]), (0..rows).map(|row| (4 * row + 1) as f32).collect::<Vec<_>>());
            assert_eq!(outputs[0].shape, [rows]);
        }
    }

    #[test]
    fn rows_that_meet_each_other_are_seen() {
        assert_eq!(independent(&[port()], &[4, 16], |_, block| Ok(sums(&block, false))), Ok(true));
        assert_eq!(independent(&[port()], &[4], |_, block| Ok(sums(&block, true))), Ok(false));
        // The same in each size, but not in both.
        let other = |size| if size == 16 { 1.0 } else { 0.0 };
        let run = |size, block: Vec<Tensor>| {
            Ok(vec![Tensor { shape: vec![size], values: Values::Float32(floats(&block[0]).chunks(2).map(|row| row[0] + other(size)).collect()) }])
        };
        assert_eq!(independent(&[port()], &[4, 16], run), Ok(false));
    }

    #[test]
    fn outputs_without_rows_and_inputs_of_another_shape_are_refused() {
        let input = |shape: &[usize]| Tensor { shape: shape.to_vec(), values: Values::Float32(vec![0.0; shape.iter().product()]) };
        let run = |inputs: &[Tensor]| run_blocks(Runtime::Tract, &[port()], &[4], inputs, |_, _| Ok(vec![input(&[3])])).unwrap_err().to_string();
        assert_eq!(run(&[input(&[2, 2])]), "tract failed: of 4 rows an output with the dimensions [3] came");
        assert_eq!(run(&[input(&[2, 3])]), "input `x` has the dimensions [2, 3] · the model takes [?, 2]");
        assert_eq!(run(&[]), "0 inputs were given · the model takes 1");
    }
}
