/* suggest.c - "did you mean". */
#include "gen/cli/cli.h"

#include <ctype.h>
#include <stdlib.h>
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

/* ---- names of methods -------------------------------------------------------------------------
 */

enum { MAX_NAMES = 400, MAX_NAME = 64 };

typedef struct names {
    char text[MAX_NAMES][MAX_NAME];
    int count;
} names;

static void add_names(names *list, const char *text)
{
    while (*text && list->count < MAX_NAMES) {
        const size_t n = strcspn(text, ",");
        if (n > 0 && n < MAX_NAME) {
            memcpy(list->text[list->count], text, n);
            list->text[list->count++][n] = '\0';
        }
        text += n;
        text += strspn(text, ", ");
    }
}

static const char *name_at(const void *user, int i)
{
    const names *list = user;
    return i < list->count ? list->text[i] : NULL;
}

static void fill_names(names *list, const char *what)
{
    static const char *const kinds[] = {"sampler", "scheduler", "guidance"};
    const char *name;
    gen_method m;
    list->count = 0;
    for (int kind = 0; kind < 3; kind++)
        for (int i = 0;
             strcmp(what, kinds[kind]) == 0 && gen_method_at(&m, (gen_method_kind)kind, i); i++) {
            add_names(list, m.name);
            add_names(list, m.aliases);
        }
    for (int i = 0; strcmp(what, "family") == 0 && (name = gen_plot_family_at(i, NULL)); i++)
        add_names(list, name);
    for (int i = 0; strcmp(what, "data") == 0 && (name = gen_plot_data_at(i, NULL)); i++)
        add_names(list, name);
}

void cli_suggest_method(gen_error *err)
{
    char what[16], word[MAX_NAME];
    int end = 0;
    if (sscanf(err->message, "%15[a-z]: \"%63[^\"]\" is not known%n", what, word, &end) != 2 ||
        !end)
        return;
    names *list = malloc(sizeof *list);
    if (!list)
        return;
    fill_names(list, what);
    const char *nearest = cli_nearest(word, name_at, list);
    const bool is_method = strcmp(what, "family") != 0 && strcmp(what, "data") != 0;
    if (list->count > 0) {
        char hint[sizeof err->hint];
        memcpy(hint, err->hint, sizeof hint);
        cli_fail(err, err->status, "--%s: \"%s\" is not known%s%s%s", what, word,
                 nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
        if (is_method)
            cli_hint(err, "`gen help %s%s` lists them", what,
                     strcmp(what, "guidance") == 0 ? "" : "s");
        else
            cli_hint(err, "%s", hint);
    }
    free(list);
}
