//! The hidden verb behind every running machine.

use std::time::Duration;

use crate::machine::name::MachineName;
use crate::supervisor;

/// Supervise one run of a machine (started by nsvm itself)
#[derive(Debug, clap::Args)]
pub struct SuperviseArgs {
    name: MachineName,
    /// Seconds the start may take
    #[arg(long)]
    timeout: Option<u64>,
}

pub fn run(args: &SuperviseArgs) -> anyhow::Result<u8> {
    crate::host::close_inherited_files();
    log_to_stderr();
    end_on_panic();
    let context = super::environment::context()?;
    supervisor::supervise(&context, &args.name, args.timeout.map(Duration::from_secs))?;
    Ok(0)
}

/// Stderr is a log file.
pub fn log_to_stderr() {
    use tracing_subscriber::EnvFilter;
    let filter = EnvFilter::try_from_env("NSVM_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // What cannot be written, on a full disk, would be told on stderr, and panic there.
    log.log_internal_errors(false).init();
}

/// The runtime catches a panic of a task and goes on without it: `start` would wait
/// for what never comes, from a supervisor that still answers. One that is gone is
/// noticed at once, and the VM outlives it.
fn end_on_panic() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        print(panic);
        std::process::abort();
    }));
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    #[ignore = "the test below runs it in a process of its own"]
    fn a_task_that_panics() {
        super::end_on_panic();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            tokio::spawn(async { panic!("out of order") });
            tokio::time::sleep(Duration::from_secs(60)).await;
        });
    }

    #[test]
    fn a_supervisor_ends_with_the_first_task_that_panics() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "cli::supervise::tests::a_task_that_panics",
                "--ignored",
                "--nocapture",
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("it went on without the task");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let output = child.wait_with_output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{log}");
        assert!(log.contains("out of order"), "{log}");
    }
}
