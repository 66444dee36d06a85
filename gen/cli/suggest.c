/* suggest.c - "did you mean". */
#include "gen/cli/cli.h"

#include <ctype.h>
#include <string.h>

enum { MAX_LENGTH = 48 };

static int lower(char c)
{
    return tolower((unsigned char)c);
}

static int smallest(int a, int b, int c)
{
    const int ab = a < b ? a : b;
    return ab < c ? ab : c;
}

/* Optimal string alignment (Damerau 1964): row i holds the distances of a's first i letters to each
 * beginning of b; a swap looks two rows back. */
int cli_edit_distance(const char *a, const char *b)
{
    const int n = (int)strlen(a), m = (int)strlen(b);
    int rows[3][MAX_LENGTH + 1];
    if (n > MAX_LENGTH || m > MAX_LENGTH)
        return MAX_LENGTH + 1;
    for (int j = 0; j <= m; j++)
        rows[0][j] = j;
    for (int i = 1; i <= n; i++) {
        int *const now = rows[i % 3];
        const int *const last = rows[(i + 2) % 3], *const before = rows[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= m; j++) {
            const int cost = lower(a[i - 1]) != lower(b[j - 1]);
            now[j] = smallest(last[j] + 1, now[j - 1] + 1, last[j - 1] + cost);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) &&
                lower(a[i - 2]) == lower(b[j - 1]) && before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    return rows[n % 3][m];
}

/* Short words are near everything, so they may have one slip only; long ones three. */
static int allowed_slips(const char *word)
{
    const size_t n = strlen(word);
    return n < 3 ? 0 : n < 6 ? 1 : n < 12 ? 2 : 3;
}

const char *cli_nearest(const char *word, cli_candidate_fn next, const void *user)
{
    const char *best = NULL;
    int best_distance = allowed_slips(word) + 1;
    const char *candidate;
    for (int i = 0; (candidate = next(user, i)); i++) {
        const int distance = cli_edit_distance(word, candidate);
        if (distance < best_distance) {
            best_distance = distance;
            best = candidate;
        }
    }
    return best;
}
