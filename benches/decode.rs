//! How fast JSON becomes Arrow: Alluvia's decoder beside arrow-json.
//!
//! `cargo bench --bench decode` first runs both decoders over every shape of message with divan (one
//! iteration is a batch of 16,384 messages), then alternates Alluvia and arrow-json and prints medians,
//! their ratio, Alluvia's allocations per message, and what bad records cost. Both make record batches.

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use alluvia::decode::json::{JsonDecoder, JsonOptions, OnMalformed, Outcome, Policy};
use alluvia::decode::schema::StructType;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::json::ReaderBuilder;
use divan::Bencher;
use divan::counter::BytesCount;

#[path = "decode/shapes.rs"]
mod shapes;

use shapes::{SHAPES, Shape};

/// Messages in one iteration, which is one batch.
const MESSAGES: usize = 16_384;
/// Alternating rounds of the summary.
const ROUNDS: usize = 15;

/// Counts what is allocated, on top of the system's allocator.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    divan::main();
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return;
    }
    summary();
}

fn decoder(shape: &Shape, on_malformed: OnMalformed) -> JsonDecoder {
    let schema = StructType::from_ddl(&shape.schema()).expect("the shape's schema is DDL");
    let (options, _) = JsonOptions::from_map(&BTreeMap::new()).expect("no options are good options");
    let policy = Policy { on_malformed, enforce_not_null: true };
    JsonDecoder::new(&schema, &options, policy).expect("the schema can be decoded")
}

/// Decodes all messages into one batch; gives how many were malformed.
fn alluvia(decoder: &mut JsonDecoder, messages: &[Vec<u8>]) -> usize {
    let malformed =
        messages.iter().filter(|m| !matches!(decoder.push(Some(m.as_slice())), Outcome::Row)).count();
    black_box(decoder.finish().expect("rows make a batch"));
    malformed
}

fn arrow_json(decoder: &mut arrow::json::reader::Decoder, lines: &[u8]) {
    let mut rest = lines;
    while !rest.is_empty() {
        let read = decoder.decode(rest).expect("the messages are JSON");
        rest = &rest[read..];
        if read == 0 || rest.is_empty() {
            black_box(decoder.flush().expect("rows make a batch"));
        }
    }
}

/// arrow-json knows no zone by name here, only by offset.
fn arrow_json_decoder(schema: SchemaRef) -> arrow::json::reader::Decoder {
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Timestamp(unit, Some(_)) => {
            Field::new(field.name(), DataType::Timestamp(*unit, Some("+00:00".into())), true)
        }
        _ => field.as_ref().clone(),
    });
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    ReaderBuilder::new(schema).with_batch_size(MESSAGES).build_decoder().expect("arrow-json takes the schema")
}

fn lines(messages: &[Vec<u8>]) -> Vec<u8> {
    messages.iter().flat_map(|message| message.iter().copied().chain([b'\n'])).collect()
}

fn bytes(messages: &[Vec<u8>]) -> BytesCount {
    BytesCount::new(messages.iter().map(Vec::len).sum::<usize>())
}

#[divan::bench(args = SHAPES, name = "alluvia")]
fn with_alluvia(bencher: Bencher<'_, '_>, shape: &Shape) {
    let messages = shape.messages(MESSAGES);
    let mut decoder = decoder(shape, OnMalformed::Reject);
    bencher.counter(bytes(&messages)).bench_local(|| alluvia(&mut decoder, &messages));
}

#[divan::bench(args = SHAPES, name = "arrow_json")]
fn with_arrow_json(bencher: Bencher<'_, '_>, shape: &Shape) {
    let messages = shape.messages(MESSAGES);
    let lines = lines(&messages);
    let mut decoder = arrow_json_decoder(decoder(shape, OnMalformed::Reject).schema());
    bencher.counter(bytes(&messages)).bench_local(|| arrow_json(&mut decoder, &lines));
}

/// Seconds and allocations of one call.
fn measured(work: impl FnOnce()) -> (f64, u64) {
    let (before, start) = (ALLOCATIONS.load(Ordering::Relaxed), Instant::now());
    work();
    (start.elapsed().as_secs_f64(), ALLOCATIONS.load(Ordering::Relaxed) - before)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn summary() {
    println!("\nalternating, medians of {ROUNDS} rounds of {MESSAGES} messages");
    println!("{:<14}{:>10}{:>12}{:>8}{:>16}", "shape", "alluvia", "arrow-json", "ratio", "allocs/message");
    for shape in SHAPES {
        let messages = shape.messages(MESSAGES);
        let (lines, size) = (lines(&messages), messages.iter().map(Vec::len).sum::<usize>() as f64 / 1e6);
        let mut ours = decoder(shape, OnMalformed::Reject);
        let mut theirs = arrow_json_decoder(ours.schema());
        assert_eq!(alluvia(&mut ours, &messages), 0, "{shape}: a good message is rejected");
        let (mut our_times, mut their_times, mut allocations) = (Vec::new(), Vec::new(), 0);
        for _ in 0..ROUNDS {
            let (time, count) = measured(|| assert_eq!(alluvia(&mut ours, &messages), 0));
            our_times.push(time);
            allocations = count;
            their_times.push(measured(|| arrow_json(&mut theirs, &lines)).0);
        }
        let (our_speed, their_speed) = (size / median(our_times), size / median(their_times));
        let each = allocations as f64 / MESSAGES as f64;
        println!(
            "{:<14}{our_speed:>5.0} MB/s{their_speed:>7.0} MB/s{:>8.2}{each:>16.5}",
            shape.to_string(),
            our_speed / their_speed
        );
    }
    bad_records();
}

/// What bad records cost, on messages of W1.
fn bad_records() {
    println!("\nbad records among those of w1: MB/s where they are rejected, and where they are kept");
    let good = SHAPES[0].messages(MESSAGES);
    let base = speeds(&good, 0);
    println!("{:<40}{:>6.0}{:>8}{:>6.0}", "none", base[0], "", base[1]);
    for (name, spoil) in shapes::SPOILERS {
        let mut messages = good.clone();
        messages.iter_mut().step_by(2).for_each(spoil);
        let half = speeds(&messages, MESSAGES / 2);
        let shares = [half[0] / base[0], half[1] / base[1]];
        let name = format!("half of them {name}");
        println!("{name:<40}{:>6.0} ({:.2}){:>6.0} ({:.2})", half[0], shares[0], half[1], shares[1]);
    }
    let mut one = good;
    shapes::SPOILERS[0].1(&mut one[MESSAGES / 2]);
    let one = speeds(&one, 1);
    println!("{:<40}{:>6.0}{:>8}{:>6.0}", format!("one in {MESSAGES}"), one[0], "", one[1]);
}

/// MB/s where malformed messages are rejected, and where they are kept.
fn speeds(messages: &[Vec<u8>], malformed: usize) -> [f64; 2] {
    let size = messages.iter().map(Vec::len).sum::<usize>() as f64 / 1e6;
    [OnMalformed::Reject, OnMalformed::Keep].map(|on_malformed| {
        let mut decoder = decoder(&SHAPES[0], on_malformed);
        let round = || measured(|| assert_eq!(alluvia(&mut decoder, messages), malformed)).0;
        size / median(std::iter::repeat_with(round).take(ROUNDS).collect())
    })
}
