// Probe payload, aarch64: a raw kernel image that does real work and powers
// off. QEMU's `virt` machine starts it at EL1 with the MMU off; PSCI
// SYSTEM_OFF (Arm DEN0022, by HVC there) ends QEMU with exit status 0.
//
// Build: aarch64-linux-gnu-as -o aarch64.o aarch64.S && objcopy -O binary -j .text aarch64.o aarch64.bin

	.set	ITERATIONS, 50000000
	.set	SYSTEM_OFF, 0x84000008

	.text
start:
	mov	x1, #(ITERATIONS & 0xffff)
	movk	x1, #(ITERATIONS >> 16), lsl #16
1:	subs	x1, x1, #1
	b.ne	1b
	mov	w0, #(SYSTEM_OFF & 0xffff)
	movk	w0, #(SYSTEM_OFF >> 16), lsl #16
	hvc	#0
2:	wfi
	b	2b
