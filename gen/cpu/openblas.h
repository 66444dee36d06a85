/* openblas.h - the OpenBLAS path of the matrix products. */
#ifndef GEN_CPU_OPENBLAS_H
#define GEN_CPU_OPENBLAS_H

#include <stdbool.h>

/* Multiplies a small known matrix once per process (some builds miscompute on some CPUs) and
 * remembers the verdict.  Also sets OpenBLAS to one thread. */
bool gen_openblas_works(void);

#endif
