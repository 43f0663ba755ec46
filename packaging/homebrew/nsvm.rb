# A formula for a tap. `packaging/bump.sh` puts version, addresses and digests in.
class Nsvm < Formula
  desc "Linux namespaces inside small virtual machines"
  homepage "@HOMEPAGE@"
  version "@VERSION@"
  license "Apache-2.0"

  depends_on "qemu"

  on_arm do
    url "@URL@/v#{version}/nsvm-#{version}-aarch64-apple-darwin.tar.gz"
    sha256 "@SHA256_AARCH64_APPLE_DARWIN@"
  end

  on_intel do
    url "@URL@/v#{version}/nsvm-#{version}-x86_64-apple-darwin.tar.gz"
    sha256 "@SHA256_X86_64_APPLE_DARWIN@"
  end

  def install
    bin.install "bin/nsvm"
    (libexec/"nsvm").install Dir["libexec/nsvm/*"]
    man1.install Dir["share/man/man1/*"]
    bash_completion.install "share/bash-completion/completions/nsvm"
    zsh_completion.install "share/zsh/site-functions/_nsvm"
    fish_completion.install "share/fish/vendor_completions.d/nsvm.fish"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/nsvm --version")
    assert_match "NAME", shell_output("NSVM_HOME=#{testpath} #{bin}/nsvm machine list")
  end
end
