//! Every interleaving of owners, every crash point, over a small model of the stores.
//!
//! The model has what the guarantee rests on and nothing else: plans and commit-log entries made by
//! put-if-absent and cleared away by retention, two tables that take a batch once per transaction, a
//! lease that only says who was last to take it. Owners are sequences of single store operations, told
//! by the real `checkpoint::resume::decide` where to begin. From every state that they can reach
//! together all of them die, and one more owner runs to the end: each record must then be in exactly one
//! place. An owner that was not replaced must never be stopped.
//!
//! The query keeps state: each run of a batch writes a file of it, and whoever goes on takes the file of the run that the
//! table holds. The state that a committed run was computed on is that of the runs committed before it, and no other.
//!
//! `stores` is what is durable, `owner` is who changes it; here they are walked through, and each record is looked for.

mod stores;
mod owner;

use std::collections::{HashMap, HashSet};

use owner::{End, Owner, Step};
use stores::Stores;

/// Lets one more owner finish what others left; `definitions` in the order in which they are tried. `None`
/// if it is stopped by name, which only happens after owners that are blind.
fn finish(left: &Stores, definitions: [char; 2], blind: bool) -> Option<Stores> {
    let mut stores = left.clone();
    for (number, definition) in definitions.into_iter().chain(['a', 'b', 'c', '-']).enumerate() {
        let mut owner = Owner { blind, ..Owner::new(100 + number as u8, definition, 3) };
        for _ in 0..200 {
            owner.step(&mut stores);
        }
        match owner.step {
            Step::Ended(End::Done) => return Some(stores),
            Step::Ended(End::LettersMissing) => {}
            Step::Ended(End::Refused) => return None,
            other => panic!("the last owner is at {other:?}: {owner:?}\n{stores:?}"),
        }
    }
    panic!("no definition finishes {stores:?}");
}

/// Walks all that owners can do together; returns the number of states.
fn walk(owners: Vec<Owner>) -> usize {
    type State = (Stores, Vec<Owner>);
    let mut came_from: HashMap<State, (State, u8)> = HashMap::new();
    let mut finished: HashSet<Stores> = HashSet::new();
    let mut seen: HashSet<State> = HashSet::new();
    let blind = owners.iter().any(|owner| owner.blind);
    let first: State = (Stores::default(), owners);
    let mut open = vec![first.clone()];
    seen.insert(first);
    let trace = seen.len() == 1 && std::env::var_os("ALLUVIA_TRACE").is_some();
    while let Some(state) = open.pop() {
        let history = || {
            let mut lines = Vec::new();
            let mut at = &state;
            while let Some((before, owner)) = came_from.get(at) {
                let step = before.1.iter().find(|o| o.id == *owner).expect("it took a step").step;
                lines.push(format!("owner {owner}: {step:?}"));
                at = before;
            }
            lines.reverse();
            lines.join("\n")
        };
        if finished.insert(state.0.clone()) {
            for definitions in [['a', 'b'], ['b', 'a'], ['c', 'a']] {
                if let Some(end) = finish(&state.0, definitions, blind) {
                    end.check(blind, &history);
                }
            }
        }
        for index in 0..state.1.len() {
            // Owners start in order: who takes the lease is what makes them differ.
            let waits = index > 0 && state.1[index - 1].step == Step::TakeLease;
            if state.1[index].ended() || waits {
                continue;
            }
            let mut next = state.clone();
            next.1[index].step(&mut next.0);
            if seen.insert(next.clone()) {
                if trace {
                    came_from.insert(next.clone(), (state.clone(), state.1[index].id));
                }
                open.push(next);
            }
        }
    }
    seen.len()
}

#[test]
fn two_owners_in_every_interleaving_and_a_crash_at_every_point_put_each_record_in_one_place() {
    let mut states = 0;
    for definitions in [['a', 'a'], ['c', 'c'], ['a', 'b'], ['b', 'a'], ['-', 'a']] {
        for sizes in [[1, 1], [1, 4], [4, 1], [2, 2], [3, 2]] {
            let owners =
                vec![Owner::new(1, definitions[0], sizes[0]), Owner::new(2, definitions[1], sizes[1])];
            states += walk(owners);
        }
    }
    eprintln!("{states} states of two owners");
    assert!(states > 10_000, "the model has only {states} states");
}

#[test]
fn three_owners_in_every_interleaving_put_each_record_in_one_place() {
    let mut states = 0;
    for definitions in [['a', 'a', 'a'], ['a', 'b', 'a'], ['a', 'b', 'b']] {
        let owners = (0..3).map(|n| Owner::new(n as u8 + 1, definitions[n], 2)).collect();
        states += walk(owners);
    }
    eprintln!("{states} states of three owners");
    assert!(states > 10_000, "the model has only {states} states");
}

#[test]
fn without_a_lease_no_row_is_doubled_and_nothing_is_lost() {
    let mut states = 0;
    for definitions in [['c', 'c'], ['a', 'b']] {
        for sizes in [[1, 4], [2, 2]] {
            let owner = |n: usize| Owner { blind: true, ..Owner::new(n as u8 + 1, definitions[n], sizes[n]) };
            states += walk(vec![owner(0), owner(1)]);
        }
    }
    eprintln!("{states} states of two owners that are blind");
    assert!(states > 10_000, "the model has only {states} states");
}
