//! What a node is paid for a day: byte-seconds, times uptime, less penalties, part of it held back.
//!
//! ```text
//! gross   = ⌊byte-seconds · pay⌋, the fraction carried to the next day
//! earned  = ⌊gross · u⌋,          u = max(0, 10⁶ − 4·(950,000 − uptime))/10⁶ below 95 % uptime, else 1
//! penalty = ⌈len · interval_s · pay · w · c / (10⁹ · month)⌉,  c = 3/2 failed, 1 missed or self-reported
//! ```
//!
//! Penalties are taken from what the day earned, then from `held`, then from `available`; what is
//! left of them is forgiven, so that no node ever owes.

use std::collections::HashSet;

use jiff::Timestamp;
use proto::MicroCredits;
use uuid::Uuid;

use model::money::{AmountTooLarge, BYTES_PER_GB, Carry, MONTH_SECONDS, PricePerGbMonth};
use model::node_state::NodeState;

pub const PPM: u32 = 1_000_000;

/// Below this uptime a day earns less.
const FULL_PAY_UPTIME_PPM: u32 = 950_000;

const MONTH_MS: i64 = MONTH_SECONDS as i64 * 1000;

/// What a node is charged for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PenaltyKind {
    /// Wrong bytes, or none.
    Failed,
    /// No answer in time.
    Missed,
    /// A loss that the node told of before it was asked.
    SelfReported,
}

impl PenaltyKind {
    /// Twice c, which is 3/2 for a failure.
    const fn halves(self) -> u128 {
        match self {
            Self::Failed => 3,
            Self::Missed | Self::SelfReported => 2,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Missed => "missed",
            Self::SelfReported => "self_reported",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Failed, Self::Missed, Self::SelfReported]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

/// A challenge that was not passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offence {
    pub kind: PenaltyKind,
    /// Of the chunk's plaintext.
    pub length_bytes: u64,
    /// Between two challenges of a replica.
    pub interval_s: u64,
    /// How many replicas the challenged one stood for.
    pub weight_ppm: u64,
}

impl Offence {
    pub fn penalty(&self, pay: PricePerGbMonth) -> Result<MicroCredits, AmountTooLarge> {
        const UNIT: u128 = BYTES_PER_GB as u128 * MONTH_SECONDS as u128 * PPM as u128 * 2;
        [
            u128::from(self.interval_s),
            u128::from(pay.microcredits()),
            u128::from(self.weight_ppm),
            self.kind.halves(),
        ]
        .into_iter()
        .try_fold(u128::from(self.length_bytes), u128::checked_mul)
        .and_then(|parts| i64::try_from(parts.div_ceil(UNIT)).ok())
        .map(MicroCredits::new)
        .ok_or(AmountTooLarge)
    }
}

/// One line of what the audit has charged a node with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charge {
    Offence {
        id: Uuid,
        offence: Offence,
    },
    /// A miss is forgiven. `collected` is what it has cost on an earlier day; `None` when it has not
    /// been settled before.
    GivenBack {
        id: Uuid,
        miss: Uuid,
        collected: Option<MicroCredits>,
    },
}

/// What a day's charges ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Assessment {
    pub penalties: Vec<(Uuid, MicroCredits)>,
    pub given_back: Vec<(Uuid, MicroCredits)>,
}

/// A miss that is forgiven before it was settled costs nothing; one that was settled gives back what
/// was collected.
pub fn assess(charges: &[Charge], pay: PricePerGbMonth) -> Result<Assessment, AmountTooLarge> {
    let forgiven: HashSet<Uuid> = charges
        .iter()
        .filter_map(|charge| match charge {
            Charge::GivenBack { miss, .. } => Some(*miss),
            Charge::Offence { .. } => None,
        })
        .collect();
    let mut assessment = Assessment::default();
    for charge in charges {
        match charge {
            Charge::Offence { id, offence } => {
                let cost = match forgiven.contains(id) {
                    true => MicroCredits::ZERO,
                    false => offence.penalty(pay)?,
                };
                assessment.penalties.push((*id, cost));
            }
            Charge::GivenBack { id, collected, .. } => {
                let amount = collected.unwrap_or(MicroCredits::ZERO);
                assessment.given_back.push((*id, amount));
            }
        }
    }
    Ok(assessment)
}

/// What is left of a day's gross at this uptime.
pub fn earned(gross: MicroCredits, uptime_ppm: u32) -> MicroCredits {
    let missing = FULL_PAY_UPTIME_PPM.saturating_sub(uptime_ppm);
    let factor = PPM.saturating_sub(missing.saturating_mul(4));
    let earned = i128::from(gross.get()) * i128::from(factor) / i128::from(PPM);
    MicroCredits::new(earned as i64) // not more than gross
}

/// The share of its pay that is held back from a node that holds data since `since`: 75, 50 and 25 % in
/// months 1–3, 4–6 and 7–9.
pub fn held_share_ppm(since: Timestamp, at: Timestamp) -> u32 {
    match months(since, at) {
        ..3 => 750_000,
        3..6 => 500_000,
        6..9 => 250_000,
        _ => 0,
    }
}

fn months(since: Timestamp, at: Timestamp) -> i64 {
    (at.as_millisecond() - since.as_millisecond()).max(0) / MONTH_MS
}

/// What becomes of the credits that are held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldFate {
    Stays,
    /// After month 15, or after an orderly exit.
    Returned,
    /// The node was disqualified; so is what it has not been paid yet.
    Forfeited,
}

impl HeldFate {
    pub fn of(state: NodeState, since: Option<Timestamp>, at: Timestamp) -> Self {
        match state {
            NodeState::Disqualified => Self::Forfeited,
            NodeState::Drained => Self::Returned,
            _ if since.is_some_and(|since| months(since, at) >= 15) => Self::Returned,
            _ => Self::Stays,
        }
    }
}

/// A node and its day, with all that decides its pay.
#[derive(Debug, Clone)]
pub struct NodeDay {
    pub byte_ms: u128,
    pub pay: PricePerGbMonth,
    pub carry: Carry,
    pub uptime_ppm: u32,
    pub held_share_ppm: u32,
    pub fate: HeldFate,
    /// In the order in which they are collected.
    pub penalties: Vec<MicroCredits>,
    /// Penalties of earlier days that turned out to be wrong.
    pub given_back: MicroCredits,
    /// Balances before.
    pub held: MicroCredits,
    pub available: MicroCredits,
}

/// How a day ends for a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub gross: MicroCredits,
    pub carry: Carry,
    /// Comes from `income`.
    pub earned: MicroCredits,
    /// How much of each penalty was collected.
    pub collected: Vec<MicroCredits>,
    /// What goes to `penalties`, less what comes back from there; what is forfeited included.
    pub to_penalties: MicroCredits,
    pub uncollected: MicroCredits,
    /// Changes of the node's balances.
    pub held: MicroCredits,
    pub available: MicroCredits,
}

impl NodeDay {
    pub fn settle(&self) -> Result<Settlement, AmountTooLarge> {
        let (gross, carry) = self.pay.meter(self.byte_ms, self.carry)?;
        let earned = match self.fate {
            HeldFate::Forfeited => MicroCredits::ZERO,
            _ => earned(gross, self.uptime_ppm),
        };
        let mut pots = [earned.get(), self.held.get(), self.available.get()];
        let mut uncollected = 0i64;
        let collected: Vec<_> = self
            .penalties
            .iter()
            .map(|penalty| {
                let mut due = penalty.get();
                for pot in &mut pots {
                    let part = due.min(*pot);
                    (due, *pot) = (due - part, *pot - part);
                }
                uncollected = uncollected.saturating_add(due);
                MicroCredits::new(penalty.get() - due)
            })
            .collect();
        let [net, held, available] = pots;
        let to_held = (i128::from(net) * i128::from(self.held_share_ppm) / i128::from(PPM)) as i64;
        let (held, released, forfeited) = match self.fate {
            HeldFate::Stays => (held + to_held, 0, 0),
            HeldFate::Returned => (0, held + to_held, 0),
            HeldFate::Forfeited => (0, 0, held + to_held),
        };
        let taken = MicroCredits::checked_sum(collected.iter().copied()).ok_or(AmountTooLarge)?;
        let sum = |amounts: [i64; 4]| {
            MicroCredits::checked_sum(amounts.map(MicroCredits::new)).ok_or(AmountTooLarge)
        };
        let given_back = self.given_back.get();
        Ok(Settlement {
            gross,
            carry,
            earned,
            to_penalties: sum([taken.get(), forfeited, -given_back, 0])?,
            uncollected: MicroCredits::new(uncollected),
            held: sum([held, -self.held.get(), 0, 0])?,
            available: sum([
                available - self.available.get(),
                net - to_held,
                released,
                given_back,
            ])?,
            collected,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAY: PricePerGbMonth = PricePerGbMonth::from_microcredits(1_000_000);

    fn credits(amount: i64) -> MicroCredits {
        MicroCredits::new(amount)
    }

    /// A node that holds a gigabyte for `days` of a month.
    fn day(days: u128) -> NodeDay {
        NodeDay {
            byte_ms: u128::from(BYTES_PER_GB) * days * 86_400_000,
            pay: PAY,
            carry: Carry::ZERO,
            uptime_ppm: PPM,
            held_share_ppm: 750_000,
            fate: HeldFate::Stays,
            penalties: Vec::new(),
            given_back: MicroCredits::ZERO,
            held: MicroCredits::ZERO,
            available: MicroCredits::ZERO,
        }
    }

    #[test]
    fn a_gigabyte_for_a_month_earns_a_credit_of_which_a_new_node_gets_a_quarter() {
        let settled = day(30).settle().unwrap();
        assert_eq!(settled.gross, credits(1_000_000));
        assert_eq!(
            (settled.held, settled.available),
            (credits(750_000), credits(250_000))
        );
        let third = day(10).settle().unwrap();
        assert_eq!(third.gross, credits(333_333));
        assert_ne!(third.carry, Carry::ZERO);
    }

    #[test]
    fn uptime_below_95_percent_costs_four_times_what_is_missing() {
        let earned = |uptime| earned(credits(1_000_000), uptime).get();
        assert_eq!(earned(1_000_000), 1_000_000);
        assert_eq!(earned(950_000), 1_000_000);
        assert_eq!(earned(949_999), 999_996);
        assert_eq!(earned(900_000), 800_000);
        assert_eq!(earned(700_000), 0);
        assert_eq!(earned(0), 0);
    }

    #[test]
    fn a_penalty_is_what_the_replica_earns_between_two_challenges_times_its_weight() {
        let offence = |kind, weight_ppm| Offence {
            kind,
            length_bytes: 1_000_000_000,
            interval_s: 14_400,
            weight_ppm,
        };
        let penalty = |kind, weight| offence(kind, weight).penalty(PAY).unwrap().get();
        // 1 credit · 4 h / 30 days = 5555.55… µc
        assert_eq!(penalty(PenaltyKind::Missed, 1_000_000), 5556);
        assert_eq!(penalty(PenaltyKind::SelfReported, 1_000_000), 5556);
        assert_eq!(penalty(PenaltyKind::Failed, 1_000_000), 8334);
        assert_eq!(penalty(PenaltyKind::Failed, 7_500_000), 62_500);
        let absurd = Offence {
            length_bytes: u64::MAX,
            interval_s: u64::MAX,
            ..offence(PenaltyKind::Failed, u64::MAX)
        };
        assert_eq!(absurd.penalty(PAY), Err(AmountTooLarge));
    }

    #[test]
    fn penalties_come_from_the_day_then_from_held_then_from_available() {
        let mut day = day(30);
        (day.held, day.available) = (credits(500_000), credits(100_000));
        let mut taken = |penalty: i64| {
            day.penalties = vec![credits(penalty)];
            let settled = day.settle().unwrap();
            (
                settled.held.get(),
                settled.available.get(),
                settled.uncollected.get(),
            )
        };
        assert_eq!(taken(600_000), (300_000, 100_000, 0));
        assert_eq!(taken(1_200_000), (-200_000, 0, 0));
        assert_eq!(taken(1_550_000), (-500_000, -50_000, 0));
        assert_eq!(taken(2_000_000), (-500_000, -100_000, 400_000));
    }

    #[test]
    fn what_is_held_comes_back_after_fifteen_months_or_an_orderly_exit_and_is_forfeited_by_a_cheat()
    {
        let since = Timestamp::from_millisecond(0).unwrap();
        let month = |n: i64| Timestamp::from_millisecond(n * MONTH_MS).unwrap();
        let shares = [0, 2, 3, 5, 6, 8, 9, 15].map(|n| held_share_ppm(since, month(n)) / 10_000);
        assert_eq!(shares, [75, 75, 50, 50, 25, 25, 0, 0]);
        let fate = |state, n| HeldFate::of(state, Some(since), month(n));
        assert_eq!(fate(NodeState::Active, 14), HeldFate::Stays);
        assert_eq!(fate(NodeState::Suspended, 15), HeldFate::Returned);
        assert_eq!(fate(NodeState::Drained, 1), HeldFate::Returned);
        assert_eq!(fate(NodeState::Disqualified, 20), HeldFate::Forfeited);

        let mut day = day(30);
        (day.held, day.available) = (credits(5), credits(7));
        day.fate = HeldFate::Forfeited;
        let settled = day.settle().unwrap();
        assert_eq!((settled.earned.get(), settled.held.get()), (0, -5));
        assert_eq!(
            (settled.available.get(), settled.to_penalties.get()),
            (0, 5)
        );
        day.fate = HeldFate::Returned;
        let settled = day.settle().unwrap();
        assert_eq!(
            (settled.held.get(), settled.available.get()),
            (-5, 1_000_005)
        );
    }

    #[test]
    fn a_miss_that_is_forgiven_costs_nothing_and_gives_back_what_it_had_cost() {
        let (miss, other, back) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
        let offence = Offence {
            kind: PenaltyKind::Missed,
            length_bytes: 1_000_000_000,
            interval_s: 14_400,
            weight_ppm: 1_000_000,
        };
        let charge = |id| Charge::Offence { id, offence };
        let given_back = |collected| Charge::GivenBack {
            id: back,
            miss,
            collected,
        };
        let same_day = assess(&[charge(miss), charge(other), given_back(None)], PAY).unwrap();
        assert_eq!(
            same_day.penalties,
            [(miss, credits(0)), (other, credits(5556))]
        );
        assert_eq!(same_day.given_back, [(back, credits(0))]);
        let later = assess(&[given_back(Some(credits(77)))], PAY).unwrap();
        assert_eq!(later.penalties, []);
        assert_eq!(later.given_back, [(back, credits(77))]);
    }

    fn fate() -> impl Strategy<Value = HeldFate> {
        prop_oneof![
            Just(HeldFate::Stays),
            Just(HeldFate::Returned),
            Just(HeldFate::Forfeited)
        ]
    }

    proptest! {
        #[test]
        fn a_settlement_sums_to_zero_and_no_node_goes_below_it(
            byte_ms in 0u128..1 << 75, uptime_ppm in 0..=PPM, share in 0..=PPM, fate in fate(),
            penalties in prop::collection::vec(0i64..1 << 40, 0..20),
            held in 0i64..1 << 40, available in 0i64..1 << 40, given_back in 0i64..1 << 40,
        ) {
            let day = NodeDay {
                byte_ms,
                pay: PAY,
                carry: Carry::ZERO,
                uptime_ppm,
                held_share_ppm: share,
                fate,
                penalties: penalties.iter().map(|p| credits(*p)).collect(),
                given_back: credits(given_back),
                held: credits(held),
                available: credits(available),
            };
            let settled = day.settle().unwrap();
            let moved = settled.held.get() + settled.available.get() + settled.to_penalties.get();
            prop_assert_eq!(moved, settled.earned.get());
            prop_assert!(held + settled.held.get() >= 0);
            prop_assert!(available + settled.available.get() >= 0);
            prop_assert!(settled.earned <= settled.gross);
            let collected: i64 = settled.collected.iter().map(|c| c.get()).sum();
            prop_assert_eq!(collected + settled.uncollected.get(), penalties.iter().sum::<i64>());
        }
    }
}
