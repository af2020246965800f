//! What a driver says of one compiled variant, in words that all drivers share.

use std::fmt;

use crate::gpus::Compiler;

/// One variant as one compiler left it. What a driver does not say is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    /// The innermost loop with the most fused multiply-adds.
    pub inner: Loop,
    /// The loop around it, with the inner one counted once; the inner one itself where there is none.
    pub outer: Loop,
}

/// Issue slots of a loop's body, and those of them that are fused multiply-adds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loop {
    /// Instructions, hints that the hardware skips left out.
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

impl Stats {
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

/// Ten numbers, as the stored table and the workers write them.
impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Stats { subgroup, registers, spills, shared, instructions, cycles, waves, inner, outer } = self;
        write!(f, "{subgroup} {registers} {spills} {shared} {instructions} {cycles} {waves}")?;
        write!(f, " {}/{} {}/{}", inner.fmas, inner.slots, outer.fmas, outer.slots)
    }
}

impl std::str::FromStr for Stats {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("not nine numbers of a compiler: {text:?}");
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [subgroup, registers, spills, shared, instructions, cycles, waves, inner, outer] = fields[..] else { return Err(wrong()) };
        let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
        let a_loop = |text: &str| {
            let (fmas, slots) = text.split_once('/').ok_or_else(wrong)?;
            Ok::<_, String>(Loop { fmas: number(fmas)?, slots: number(slots)? })
        };
        Ok(Stats {
            subgroup: number(subgroup)?,
            registers: number(registers)?,
            spills: number(spills)?,
            shared: number(shared)?,
            instructions: number(instructions)?,
            cycles: cycles.parse().map_err(|_| wrong())?,
            waves: number(waves)?,
            inner: a_loop(inner)?,
            outer: a_loop(outer)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            inner: Loop { slots: 1857, fmas: 1024 },
            outer: Loop { slots: 1900, fmas: 1024 },
        };
        assert_eq!(stats.to_string().parse(), Ok(stats));
        assert!("1 2 3".parse::<Stats>().is_err());
    }

    #[test]
    fn fewer_waves_and_more_of_anything_else_are_losses() {
        let before = Stats { registers: 100, waves: 6, cycles: 10, ..Stats::default() };
        let now = Stats { registers: 90, waves: 5, cycles: 11, ..before };
        assert_eq!(now.losses(&before), ["10 → 11 cycles", "6 → 5 waves"]);
        assert_eq!(now.gains(&before), ["100 → 90 registers"]);
        assert!(before.losses(&before).is_empty());
    }
}
