/* Wine 8 has no bcryptprimitives.dll, from which Rust's library takes its
   random bytes. */
#include <windows.h>
#include <ntsecapi.h>

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE bytes, SIZE_T left)
{
    while (left > 0) {
        ULONG some = left > (1u << 20) ? 1u << 20 : (ULONG)left;
        if (!RtlGenRandom(bytes, some))
            return FALSE;
        bytes += some;
        left -= some;
    }
    return TRUE;
}
