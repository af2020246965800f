//! What a driver says of one compiled variant, in words that all drivers share.

use std::fmt;

use crate::gpus::Compiler;

/// One variant as one compiler left it. What a driver does not say is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Lanes of the subgroup that the driver picked.
    pub subgroup: u32,
    /// Vector registers of a lane. Half registers on Apple; the most that are live at once on Intel.
    pub registers: u32,
    /// Instructions that spill to scratch memory or fill from it; bytes of scratch memory where there is some for another
    /// reason.
    pub spills: u32,
    /// Bytes of workgroup memory.
    pub shared: u32,
    /// Instructions of the whole program.
    pub instructions: u32,
    /// The compiler's own estimate of the time: ACO's inverse throughput, NAK's static cycles, Intel's cycles, Apple's ALU
    /// instructions.
    pub cycles: u64,
    /// How many subgroups fit: see [`Compiler::waves`].
    pub waves: u32,
    /// Its loops that hold fused multiply-adds, outermost first.
    pub loops: Vec<Nest>,
}

/// A loop and those in it, each counted once in what is around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nest {
    /// The whole body.
    pub work: Loop,
    /// The loops inside that hold fused multiply-adds.
    pub inside: Vec<Nest>,
}

/// Issue slots of a loop's body, and those of them that are fused multiply-adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loop {
    /// Instructions, hints to the scheduler of AMD's left out.
    pub slots: u32,
    /// Fused multiply-adds.
    pub fmas: u32,
}

impl Loop {
    /// The share of fused multiply-adds, in percent.
    pub fn share(self) -> f64 {
        if self.slots == 0 { 0.0 } else { 100.0 * f64::from(self.fmas) / f64::from(self.slots) }
    }
}

impl Nest {
    /// The innermost loop with the most fused multiply-adds.
    pub fn innermost(&self) -> Loop {
        self.inside.iter().map(Nest::innermost).max_by_key(|one| one.fmas).unwrap_or(self.work)
    }

    /// The body without the loops inside.
    pub fn own(&self) -> Loop {
        let inside = |pick: fn(Loop) -> u32| self.inside.iter().map(|one| pick(one.work)).sum::<u32>();
        Loop { slots: self.work.slots - inside(|one| one.slots), fmas: self.work.fmas - inside(|one| one.fmas) }
    }
}

/// `68/584(64/95)`: multiply-adds and slots, then the loops inside.
impl fmt::Display for Nest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.work.fmas, self.work.slots)?;
        if !self.inside.is_empty() {
            write!(f, "({})", Nests(&self.inside))?;
        }
        Ok(())
    }
}

/// Nests side by side, `-` for none.
struct Nests<'a>(&'a [Nest]);

impl fmt::Display for Nests<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, nest) in self.0.iter().enumerate() {
            write!(f, "{}{nest}", if i > 0 { "," } else { "" })?;
        }
        if self.0.is_empty() { f.write_str("-") } else { Ok(()) }
    }
}

/// What [`Nests`] writes; the text behind it is returned too.
fn read_nests(mut text: &str) -> Option<(Vec<Nest>, &str)> {
    let mut nests = Vec::new();
    loop {
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (fmas, rest) = text.split_once('/')?;
        let (slots, mut rest) = rest.split_at(digits(rest));
        let work = Loop { slots: slots.parse().ok()?, fmas: fmas.parse().ok()? };
        let mut inside = Vec::new();
        if let Some(inner) = rest.strip_prefix('(') {
            let behind;
            (inside, behind) = read_nests(inner)?;
            rest = behind.strip_prefix(')')?;
        }
        nests.push(Nest { work, inside });
        match rest.strip_prefix(',') {
            Some(next) => text = next,
            None => return Some((nests, rest)),
        }
    }
}

impl Stats {
    /// The loop of a nest that holds the most fused multiply-adds.
    pub fn main_loop(&self) -> Option<&Nest> {
        self.loops.iter().max_by_key(|nest| nest.work.fmas)
    }

    /// From a driver's own names and numbers.
    pub fn from_driver(compiler: Compiler, subgroup: u32, named: &[(String, u64)], rdna: bool) -> Self {
        let get = |name: &str| named.iter().find(|(known, _)| known == name).map_or(0, |(_, value)| *value);
        let small = |name: &str| u32::try_from(get(name)).unwrap_or(u32::MAX);
        let sum = |names: &[&str], scratch: &str| {
            let moves: u32 = names.iter().map(|name| small(name)).sum();
            if moves > 0 { moves } else { small(scratch) }
        };
        let mut stats = Stats { subgroup, ..Stats::default() };
        match compiler {
            Compiler::Aco => {
                stats.registers = small("VGPRs");
                stats.spills = sum(&["Spilled VGPRs"], "Scratch size");
                stats.shared = small("LDS size");
                stats.instructions = small("Instructions");
                stats.cycles = get("Inverse Throughput");
                // ACO counts waves of 32 lanes on RDNA, also where the kernel has 64.
                stats.waves = small("Subgroups per SIMD") / if rdna && subgroup == 64 { 2 } else { 1 };
            }
            Compiler::Nak => {
                stats.registers = small("Number of GPRs");
                stats.spills = sum(&["Spills to memory", "Fills from memory"], "SLM size");
                stats.instructions = small("Instruction count");
                stats.cycles = get("Static cycle count");
                stats.waves = small("Max warps/SM");
            }
            Compiler::Brw => {
                stats.registers = small("Max live registers");
                stats.spills = sum(&["Spills", "Fills"], "Scratch Memory Size");
                stats.shared = small("Workgroup Memory Size");
                stats.instructions = small("Instructions");
                stats.cycles = get("Cycles");
            }
            Compiler::Agx => {
                stats.registers = small("GPRs");
                stats.spills = sum(&["Spills", "Fills"], "Scratch");
                stats.instructions = small("Instructions");
                stats.cycles = get("ALU");
                stats.waves = small("Threads");
            }
            Compiler::Ir3 => {
                stats.registers = small("Registers used");
                stats.spills = sum(&["STP Count", "LDP Count"], "");
                stats.instructions = small("Instruction Count");
                stats.waves = small("Max Waves Per Core");
            }
        }
        stats
    }

    /// What got worse from `before` to `self`, in words; empty where nothing did.
    pub fn losses(&self, before: &Stats) -> Vec<String> {
        self.changes(before, |now, before| now > before, |now, before| now < before)
    }

    /// What got better from `before` to `self`.
    pub fn gains(&self, before: &Stats) -> Vec<String> {
        self.changes(before, |now, before| now < before, |now, before| now > before)
    }

    /// `more` judges what should be small, `fewer` what should be large.
    fn changes(&self, before: &Stats, more: fn(u64, u64) -> bool, fewer: fn(u64, u64) -> bool) -> Vec<String> {
        let small = [
            ("registers", self.registers.into(), before.registers.into()),
            ("spills", self.spills.into(), before.spills.into()),
            ("bytes of workgroup memory", self.shared.into(), before.shared.into()),
            ("instructions", self.instructions.into(), before.instructions.into()),
            ("cycles", self.cycles, before.cycles),
        ];
        let large = [("waves", u64::from(self.waves), u64::from(before.waves))];
        let word = |(what, now, before): (&str, u64, u64)| format!("{before} → {now} {what}");
        small
            .into_iter()
            .filter(|&(_, now, before)| more(now, before))
            .chain(large.into_iter().filter(|&(_, now, before)| fewer(now, before)))
            .map(word)
            .collect()
    }
}

/// Seven numbers and the loops, as the stored table and the workers write them.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { subgroup, registers, spills, shared, instructions, cycles, waves, loops } = self;
        write!(f, "{subgroup} {registers} {spills} {shared} {instructions} {cycles} {waves} {}", Nests(loops))
    }
}

impl std::str::FromStr for Stats {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not what a compiler said: {text:?}");
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [subgroup, registers, spills, shared, instructions, cycles, waves, loops] = fields[..] else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let loops = match loops {
            "-" => Vec::new(),
            _ => read_nests(loops).filter(|(_, rest)| rest.is_empty()).ok_or_else(wrong)?.0,
        };
        Ok(Stats {
            subgroup: number(subgroup)?,
            registers: number(registers)?,
            spills: number(spills)?,
            shared: number(shared)?,
            instructions: number(instructions)?,
            cycles: cycles.parse().map_err(|_| wrong())?,
            waves: number(waves)?,
            loops,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nest(fmas: u32, slots: u32, inside: Vec<Nest>) -> Nest {
        Nest { work: Loop { slots, fmas }, inside }
    }

    #[test]
    fn what_is_written_can_be_read() {
        let stats = Stats {
            subgroup: 64,
            registers: 120,
            spills: 3,
            shared: 16_384,
            instructions: 2317,
            cycles: 6861,
            waves: 6,
            loops: vec![nest(68, 584, vec![nest(64, 95, vec![]), nest(4, 9, vec![])]), nest(1, 2, vec![])],
        };
        assert_eq!(stats.to_string(), "64 120 3 16384 2317 6861 6 68/584(64/95,4/9),1/2");
        assert_eq!(stats.to_string().parse(), Ok(stats));
        let without = Stats::default();
        assert_eq!(without.to_string().parse(), Ok(without));
        for wrong in ["1 2 3", "64 120 3 16384 2317 6861 6 68/584(64/95", "64 120 3 16384 2317 6861 6 68/584)"] {
            assert!(wrong.parse::<Stats>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_nest_tells_its_own_work_from_that_inside() {
        let outer = nest(20, 40, vec![nest(8, 10, vec![]), nest(9, 10, vec![])]);
        assert_eq!(outer.own(), Loop { fmas: 3, slots: 20 });
        assert_eq!(outer.innermost(), Loop { fmas: 9, slots: 10 });
    }

    #[test]
    fn fewer_waves_and_more_of_anything_else_are_losses() {
        let before = Stats { registers: 100, waves: 6, cycles: 10, ..Stats::default() };
        let now = Stats { registers: 90, waves: 5, cycles: 11, ..before.clone() };
        assert_eq!(now.losses(&before), ["10 → 11 cycles", "6 → 5 waves"]);
        assert_eq!(now.gains(&before), ["100 → 90 registers"]);
        assert!(before.losses(&before).is_empty());
    }
}
