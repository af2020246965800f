//! The time that a program itself takes.

use std::time::{Duration, Instant};

/// How much longer than its own time a program may be there, on a machine that is busy with others.
const PATIENCE: u32 = 4;

/// Counts from the moment when it is made, on the thread that made it.
pub struct Clock {
    began: Instant,
    began_at: Duration,
    slept: Duration,
}

impl Clock {
    /// Starts to count.
    pub fn start() -> Self {
        Self { began: Instant::now(), began_at: of_thread(), slept: Duration::ZERO }
    }

    /// How long ago that was.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// What is left of `limit`: it is used up by what the thread computed and slept, or [`PATIENCE`] times as slowly by waiting
    /// for a core.
    pub fn left(&self, limit: Duration) -> Duration {
        let own = of_thread().saturating_sub(self.began_at) + self.slept;
        limit.saturating_sub(own).min(limit.saturating_mul(PATIENCE).saturating_sub(self.elapsed()))
    }

    /// Sleeps.
    pub fn sleep(&mut self, time: Duration) {
        std::thread::sleep(time);
        self.slept += time;
    }
}

/// The processor time of this thread.
#[cfg(unix)]
fn of_thread() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a timespec that the call may write to.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return since_start();
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Elsewhere waiting for a core counts.
#[cfg(not(unix))]
fn of_thread() -> Duration {
    since_start()
}

/// Time since this was first asked for.
fn since_start() -> Duration {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    START.get_or_init(Instant::now).elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_sleep_use_up_time() {
        let limit = Duration::from_secs(60);
        let mut clock = Clock::start();
        clock.sleep(Duration::from_millis(20));
        let slept = clock.left(limit);
        assert!(slept <= limit - Duration::from_millis(20), "{slept:?}");
        let (mut number, began) = (1u64, clock.elapsed());
        while clock.elapsed() < began + Duration::from_millis(50) || number == 0 {
            number = std::hint::black_box(number.wrapping_mul(6364136223846793005) + 1);
        }
        assert!(clock.left(limit) < slept, "{:?}", clock.left(limit));
        assert_eq!(clock.left(Duration::from_millis(1)), Duration::ZERO);
    }

    /// Waiting, as for a core, counts little.
    #[cfg(unix)]
    #[test]
    fn waiting_uses_up_less() {
        let clock = Clock::start();
        std::thread::sleep(Duration::from_millis(100));
        let left = clock.left(Duration::from_secs(1));
        assert!(left > Duration::from_millis(950), "{left:?}");
        std::thread::sleep(Duration::from_millis(110));
        assert_eq!(clock.left(Duration::from_millis(50)), Duration::ZERO);
    }
}
