//! What all workers counted, put together for whoever asks.
//!
//! Counts add up, sketches merge, and so do the errors of Space-Saving (P. K. Agarwal, G. Cormode, Z. Huang,
//! J. Phillips, Z. Wei, K. Yi, "Mergeable summaries", PODS 2012): what a customer may have had at a worker that has
//! no counter for it is added to what it may have had more.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use super::table::{Record, Table};

/// Everything, as it was read.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Those with the most packets first, then by address.
    pub customers: Vec<Customer>,
    /// Packets booked, those included that no listed customer stands for any more.
    pub attempts: u64,
    /// Customers that had to leave their place to another, once for each time.
    pub displaced_customers: u64,
    /// Packets that were counted for these.
    pub displaced_attempts: u64,
    /// A customer that is not listed has had at most so many packets.
    pub unlisted_at_most: u64,
    /// Customers that could not be read, since their places changed hands all the time.
    pub unread: u64,
}

/// A customer with what all workers counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    /// What was counted.
    pub record: Record,
    /// It has had at most so many packets. All that were counted, if nothing was lost.
    pub at_most: u64,
}

pub(super) fn read(tables: &[Arc<Table>], hash: impl Fn(IpAddr) -> u64) -> Report {
    /// A customer, and what the workers that know it would have allowed for if they did not.
    struct Found {
        record: Record,
        known_floors: u64,
    }
    let mut report = Report::default();
    let mut found: HashMap<IpAddr, Found> = HashMap::new();
    let mut floors: Vec<u64> = Vec::new();
    for table in tables {
        let mut records = Vec::new();
        let reading = table.read(|record| records.push(record));
        floors.resize(reading.floors.len(), 0);
        floors.iter_mut().zip(&reading.floors).for_each(|(sum, floor)| *sum += floor);
        report.displaced_customers += reading.displaced_customers;
        report.displaced_attempts += reading.displaced_packets;
        report.unread += reading.unread;
        // Who has just got a place is not booked yet.
        for record in records.into_iter().filter(|record| record.attempts() > 0) {
            report.attempts += record.attempts();
            let floor = reading.floors[table.set_of(hash(record.customer))];
            match found.entry(record.customer) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Found { record, known_floors: floor });
                }
                Entry::Occupied(mut occupied) => {
                    let known = occupied.get_mut();
                    known.record.merge(&record);
                    known.known_floors += floor;
                }
            }
        }
    }
    report.attempts += report.displaced_attempts;
    report.unlisted_at_most = floors.iter().copied().max().unwrap_or(0);
    let set_of = |customer| tables.first().map_or(0, |table| table.set_of(hash(customer)));
    report.customers = found
        .into_values()
        .map(|Found { record, known_floors }| {
            let elsewhere = floors[set_of(record.customer)].saturating_sub(known_floors);
            let at_most = record.attempts() + record.inherited + elsewhere;
            Customer { record, at_most }
        })
        .collect();
    report.customers.sort_unstable_by_key(|customer| {
        (std::cmp::Reverse(customer.record.attempts()), customer.record.customer)
    });
    report
}
