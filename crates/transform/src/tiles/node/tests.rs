use super::*;

#[test]
fn nodes_round_trip_and_cut_ones_are_refused() {
    let row = Row { key: b"12345678\0pk", known_from: i64::MIN, known_until: i64::MAX, args: b"args" };
    let superseded = Row { key: b"12345679\0pk", known_from: 5, known_until: -9, args: b"" };
    let head = encode_head(&[row, superseded]);
    assert_eq!(decode_head(&head).unwrap(), [row, superseded]);
    let mut tiles = [None; FANOUT];
    (tiles[3], tiles[15]) = (Some(b"three".as_slice()), Some(b"".as_slice()));
    let place = Path::of(b"1234", 5);
    let page = encode_page(&place, &tiles);
    let Node::Page(read) = decode_node(&Path::root(), &page).unwrap() else { panic!("a page") };
    assert_eq!((read.prefix, read.nibbles, read.tiles), (b"12\x30".as_slice(), 5, tiles));
    for cut in 0..page.len() {
        assert!(decode_node(&Path::root(), &page[..cut]).is_err(), "{cut}");
    }
    for cut in 0..head.len() {
        assert!(decode_head(&head[..cut]).is_err(), "{cut}");
    }
    assert!(decode_node(&Path::root(), &[9, 1, 0]).is_err());
    assert!(decode_head(&[head.as_slice(), &[0]].concat()).is_err());
    assert!(decode_head(&encode_head(&[superseded, row])).is_err());
}

#[test]
fn a_leaf_is_its_runs() {
    let keys: [&[u8]; 5] = [b"12345678 1", b"12345678 2", b"12345678 3", b"12345679 1", b"12345679 2"];
    let rows = keys.map(|key| Row { key, known_from: i64::MIN, known_until: i64::MAX, args: b"args" });
    let runs: [(&[Row<'_>], &[u8]); 3] = [(&rows[..2], b"one"), (&rows[2..4], b"two"), (&rows[4..], b"three")];
    let bytes = encode_leaf(runs.into_iter());
    let Node::Leaf(leaf) = decode_node(&Path::root(), &bytes).unwrap() else { panic!("a leaf") };
    assert_eq!(leaf.decode().unwrap().concat(), rows);
    for (run, (rows, tile)) in leaf.runs.iter().zip(runs) {
        assert_eq!((run.tile, run.first_key().unwrap()), (Some((order::time_of(rows[0].key), tile)), rows[0].key));
    }
    let read = |bytes: &[u8]| match decode_node(&Path::root(), bytes)? {
        Node::Leaf(leaf) => leaf.decode().map(|runs| runs.concat().len()),
        Node::Page(_) => Err(CodecError::new("a page")),
    };
    for cut in 0..bytes.len() {
        assert!(read(&bytes[..cut]).is_err(), "{cut}");
    }
    assert!(read(&encode_leaf([runs[1], runs[0]].into_iter())).is_err());
    assert_eq!(read(&encode_leaf([runs[1]].into_iter())), Ok(2));
    assert!(read(&encode_leaf([(&[rows[1], rows[0]][..], runs[1].1)].into_iter())).is_err());
}

#[test]
fn a_node_is_refused_where_it_does_not_belong() {
    let row = Row { key: b"12345678\0pk", known_from: i64::MIN, known_until: i64::MAX, args: b"args" };
    let leaf = encode_leaf([(&[row][..], &b""[..])].into_iter());
    let page = encode_page(&Path::of(b"1234", 5), &[None; FANOUT]);
    for (node, nibbles) in [(&leaf, 16), (&page, 5)] {
        assert!(decode_node(&Path::of(b"12345678", nibbles), node).is_ok());
        assert!(decode_node(&Path::of(b"1x345678", nibbles), node).is_err());
    }
    assert!(decode_node(&Path::of(b"1234", 6), &page).is_err());
}
