// VITRINE_HD marks a function that host and device share: arithmetic that stands in one place for every back end.
#pragma once

#ifdef __CUDACC__
#define VITRINE_HD __host__ __device__
#else
#define VITRINE_HD
#endif
