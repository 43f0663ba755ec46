# Probe payload, x86_64: a boot sector that does real work and powers off.
#
# It enters long mode, which a broken KVM interprets or refuses, runs
# 50 million iterations, and ends QEMU through its isa-debug-exit device.
# QEMU's exit status is then (0x31 << 1) | 1 = 99.
#
# Build: as --64 -o x86_64.o x86_64.S && objcopy -O binary -j .text x86_64.o x86_64.bin
# All addresses are differences plus LOAD, so nothing is left to a linker.

	.set	LOAD, 0x7c00		# where the BIOS puts a boot sector
	.set	PML4, 0x1000		# three pages of tables, below the sector
	.set	PDPT, 0x2000
	.set	PD, 0x3000
	.set	ITERATIONS, 50000000
	.set	EXIT_PORT, 0xf4
	.set	EXIT_CODE, 0x31
	.set	EFER, 0xc0000080

	.text
	.code16
start:
	cli
	xorw	%ax, %ax
	movw	%ax, %ds
	movw	%ax, %es
	movw	%ax, %ss
	movw	$LOAD, %sp

	# One 2 MiB page maps the lowest memory onto itself.
	cld
	movl	$PML4, %edi
	movl	%edi, %cr3
	xorl	%eax, %eax
	movl	$(3 * 4096 / 4), %ecx
	addr32	rep stosl
	movl	$(PDPT | 3), PML4	# present, writable
	movl	$(PD | 3), PDPT
	movl	$0x83, PD		# the same, and large

	movl	%cr4, %eax
	orl	$0x20, %eax		# PAE
	movl	%eax, %cr4
	movl	$EFER, %ecx
	rdmsr
	orl	$0x100, %eax		# LME
	wrmsr
	lgdtl	gdt_pointer - start + LOAD
	movl	%cr0, %eax
	orl	$0x80000001, %eax	# PG, PE
	movl	%eax, %cr0
	ljmpl	$8, $(long_mode - start + LOAD)

	.code64
long_mode:
	movl	$16, %eax
	movl	%eax, %ss
	movl	$ITERATIONS, %ecx
1:	decq	%rcx
	jnz	1b
	movb	$EXIT_CODE, %al
	outb	%al, $EXIT_PORT
2:	hlt
	jmp	2b

	.balign	8
gdt:
	.quad	0
	.quad	0x00209a0000000000	# 8: code, 64 bit
	.quad	0x0000920000000000	# 16: data
gdt_pointer:
	.word	gdt_pointer - gdt - 1
	.long	gdt - start + LOAD

	.org	510
	.word	0xaa55			# what makes it bootable
