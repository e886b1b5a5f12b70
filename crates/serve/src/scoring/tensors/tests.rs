//! Each row's values are its own, whatever rows stand beside it, and rounded once.

use std::sync::Arc;

use arrow::array::{Array, Float64Array, Int64Array, ListArray, StringArray, UInt64Array};
use arrow::datatypes::Float64Type;
use proptest::prelude::*;

use super::*;

fn feature(column: usize, values: usize, array: &ArrayRef) -> Feature {
    Feature { name: format!("f{column}"), column, data_type: array.data_type().clone(), values }
}

fn input(element: Element, columns: &[ArrayRef], widths: &[usize]) -> Input {
    let features: Vec<Feature> = columns.iter().zip(widths).enumerate().map(|(at, (column, &values))| feature(at, values, column)).collect();
    Input { name: "x".to_owned(), element, dimensions: vec![widths.iter().sum()], features }
}

fn one(element: Element, column: ArrayRef) -> Inputs {
    let columns = [column];
    tensors(&[input(element, &columns, &[1])], &columns).unwrap()
}

fn floats(tensor: &Tensor) -> Vec<u32> {
    let Values::Float32(values) = &tensor.values else { panic!("{tensor:?}") };
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn what_a_float_has_not_is_the_nearest_that_it_has() {
    let whole = [(1 << 24) + 1, (1 << 24) + 3, (1 << 53) + 1, i64::MAX, i64::MIN, -1];
    let inputs = one(Element::Float32, Arc::new(Int64Array::from(whole.to_vec())));
    // Ties go to even: 2^24 + 1 down, 2^24 + 3 up.
    let wanted = [16_777_216.0_f32, 16_777_220.0, 9_007_199_254_740_992.0, 9_223_372_036_854_775_807.0, -9_223_372_036_854_775_808.0, -1.0];
    assert_eq!(floats(&inputs.tensors[0]), wanted.map(f32::to_bits));
    let double = [0.1, -0.0, f64::INFINITY, 1e300, 1e-300, 16_777_217.0];
    let inputs = one(Element::Float32, Arc::new(Float64Array::from(double.to_vec())));
    assert_eq!(floats(&inputs.tensors[0]), [0.1_f32, -0.0, f32::INFINITY, f32::INFINITY, 0.0, 16_777_216.0].map(f32::to_bits));
    let inputs = one(Element::Float64, Arc::new(Int64Array::from(vec![(1 << 53) + 1])));
    assert_eq!(inputs.tensors[0].values, Values::Float64(vec![9_007_199_254_740_992.0]));
}

#[test]
fn null_is_nan_where_there_is_one_and_leaves_the_row_out_where_there_is_none() {
    let inputs = one(Element::Float32, Arc::new(Float64Array::from(vec![Some(1.0), None, Some(f64::NAN)])));
    let Values::Float32(values) = &inputs.tensors[0].values else { panic!() };
    assert!(values[1].is_nan() && values[2].is_nan() && inputs.left_out.is_empty());
    let inputs = one(Element::Int64, Arc::new(UInt64Array::from(vec![Some(1), None, Some(u64::MAX)])));
    assert_eq!((inputs.rows.as_slice(), inputs.tensors[0].shape.as_slice()), ([0].as_slice(), [1, 1].as_slice()));
    assert_eq!(inputs.left_out[1].1, "feature `f0` is 18446744073709551615, which input `x` of type int64 has not");
    let inputs = one(Element::Text, Arc::new(StringArray::from(vec![None, Some("")])));
    assert_eq!((inputs.rows.as_slice(), inputs.asked()), ([1].as_slice(), 2));
}

#[test]
fn lists_of_another_length_leave_their_row_out() {
    let lists = [Some(vec![Some(1.0), None]), None, Some(vec![Some(1.0)]), Some(vec![])];
    let columns: [ArrayRef; 1] = [Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(lists))];
    let inputs = tensors(&[input(Element::Float32, &columns, &[2])], &columns).unwrap();
    assert_eq!(inputs.rows, [0, 1]);
    assert_eq!(inputs.left_out[0], (2, "feature `f0` is a list of 1 elements, and input `x` takes 2 of them".to_owned()));
    let Values::Float32(values) = &inputs.tensors[0].values else { panic!() };
    assert_eq!((values[0], values.iter().filter(|value| value.is_nan()).count()), (1.0, 3));
}

#[test]
fn columns_of_another_service_are_a_fault() {
    let columns: [ArrayRef; 1] = [Arc::new(Int64Array::from(vec![1]))];
    let bound = [input(Element::Float32, &columns, &[1])];
    let other: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
    assert_eq!(tensors(&bound, &[other]).unwrap_err().kind(), lockstep_model::ErrorKind::Internal);
    assert_eq!(tensors(&bound, &[]).unwrap_err().kind(), lockstep_model::ErrorKind::Internal);
}

fn list() -> impl Strategy<Value = Option<Vec<Option<f64>>>> {
    proptest::option::weighted(0.9, prop_oneof![4 => proptest::collection::vec(proptest::option::of(-1e3..1e3_f64), 3), 1 => Just(vec![Some(1.0)])])
}

proptest! {
    #[test]
    fn a_row_is_the_same_alone_and_among_others(
        rows in proptest::collection::vec((proptest::option::of(any::<i64>()), proptest::option::of(any::<f64>()), list()), 1..30),
        element in prop_oneof![Just(Element::Float32), Just(Element::Float64)],
    ) {
        let whole: ArrayRef = Arc::new(Int64Array::from_iter(rows.iter().map(|row| row.0)));
        let double: ArrayRef = Arc::new(Float64Array::from_iter(rows.iter().map(|row| row.1)));
        let lists: ArrayRef = Arc::new(ListArray::from_iter_primitive::<Float64Type, _, _>(rows.iter().map(|row| row.2.clone())));
        let columns = [whole, double, lists];
        let inputs = [input(element, &columns, &[1, 1, 3]), Input { name: "counts".to_owned(), ..input(Element::Int64, &columns[..1], &[1]) }];
        let together = tensors(&inputs, &columns).unwrap();
        prop_assert_eq!(together.asked(), rows.len());
        for row in 0..rows.len() {
            let alone: Vec<ArrayRef> = columns.iter().map(|column| column.slice(row, 1)).collect();
            let alone = tensors(&inputs, &alone).unwrap();
            match together.rows.iter().position(|&known| known as usize == row) {
                Some(place) => {
                    for (one, all) in alone.tensors.iter().zip(&together.tensors) {
                        let width: usize = all.shape[1..].iter().product();
                        prop_assert_eq!(bits(one, 0, width), bits(all, place, width));
                    }
                }
                None => {
                    let reason = together.left_out.iter().find(|(known, _)| *known as usize == row).map(|(_, reason)| reason.clone());
                    prop_assert_eq!(alone.left_out.first().map(|(_, reason)| reason.clone()), reason);
                    prop_assert!(alone.rows.is_empty());
                }
            }
        }
    }
}

/// The values of a row, as bits.
fn bits(tensor: &Tensor, row: usize, width: usize) -> Vec<u64> {
    match &tensor.values {
        Values::Float32(values) => values[row * width..][..width].iter().map(|value| u64::from(value.to_bits())).collect(),
        Values::Float64(values) => values[row * width..][..width].iter().map(|value| value.to_bits()).collect(),
        Values::Int64(values) => values[row * width..][..width].iter().map(|value| value.cast_unsigned()).collect(),
        other => panic!("{other:?}"),
    }
}
