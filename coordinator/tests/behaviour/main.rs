//! The coordinator as its users, its nodes and its database meet it: a database of its own for every
//! test, the real router, the real peer network on loopback ports that the system chooses.
//!
//! Storage nodes are played in this process, so that they can lie, hang and vanish on demand; real
//! ones are driven by the tests of `local-cluster`.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy.toml exempts only inside test functions"
)]

mod access_keys;
mod account_admin;
mod accounts;
mod api_description;
mod api_errors;
mod audit_cheats;
mod audit_misses;
mod audit_rounds;
mod bound_evidence;
mod broken_clients;
mod challenges;
mod chargebacks;
mod checksums;
mod closing;
mod coded_files;
mod command_line;
mod commits;
mod crowds;
mod database_fitness;
mod delete_orders;
mod deleting;
mod downloads;
mod drains;
mod evidence;
mod guards;
mod hostile_nodes;
mod hostile_requests;
mod instances;
mod key_periods;
mod key_rotation;
mod keys;
mod kills;
mod ledger;
mod ledger_recomputed;
mod listing;
mod local_request;
mod meanings;
mod metrics;
mod money;
mod network_document;
mod node_admission;
mod node_pay;
mod node_scores;
mod node_standing;
mod node_verdicts;
mod objects;
mod pages;
mod passkeys;
mod passwords;
mod payouts;
mod planted_secrets;
mod presence;
mod purchases;
mod purges;
mod reconciling;
mod repair;
mod repair_places;
mod repair_queue;
mod restore_cheats;
mod restore_course;
mod restore_mode;
mod schema;
mod second_factors;
mod security_log;
mod sessions;
mod settlement;
mod settlement_history;
mod shares;
mod small_files;
mod strangers;
mod support;
mod tokens;
mod tus;
mod two_clocks;
mod upload_limits;
mod upload_races;
mod upload_ranges;
mod uploads;
mod uptime;
