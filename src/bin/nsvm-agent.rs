// agent
fn main() {}
