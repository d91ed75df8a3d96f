/* Counts the words of its input and prints the most frequent ones; an SQLite database does the counting. */

#include <ctype.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>

enum { LONGEST = 256 };

static sqlite3 *db;

static void must(int result)
{
    if (result != SQLITE_OK && result != SQLITE_DONE && result != SQLITE_ROW) {
        fprintf(stderr, "words: %s\n", sqlite3_errmsg(db));
        exit(1);
    }
}

static void count(sqlite3_stmt *add, const char *word, int length)
{
    must(sqlite3_bind_text(add, 1, word, length, SQLITE_TRANSIENT));
    must(sqlite3_step(add));
    must(sqlite3_reset(add));
}

int main(int argc, char **argv)
{
    int most = argc > 1 ? atoi(argv[1]) : 5;
    char word[LONGEST];
    int length = 0, c;
    sqlite3_stmt *add, *show;

    must(sqlite3_open(":memory:", &db));
    must(sqlite3_exec(db, "CREATE TABLE words (word TEXT PRIMARY KEY, n INT)", NULL, NULL, NULL));
    must(sqlite3_prepare_v2(db, "INSERT INTO words VALUES (?, 1) ON CONFLICT (word) DO UPDATE SET n = n + 1", -1,
                            &add, NULL));
    while ((c = getchar()) != EOF) {
        if (isalnum(c)) {
            if (length < LONGEST)
                word[length++] = (char)tolower(c);
        } else if (length > 0) {
            count(add, word, length);
            length = 0;
        }
    }
    if (length > 0)
        count(add, word, length);
    must(sqlite3_prepare_v2(db, "SELECT n, word FROM words ORDER BY n DESC, word LIMIT ?", -1, &show, NULL));
    must(sqlite3_bind_int(show, 1, most));
    while (sqlite3_step(show) == SQLITE_ROW)
        printf("%d %s\n", sqlite3_column_int(show, 0), (const char *)sqlite3_column_text(show, 1));
    sqlite3_finalize(add);
    sqlite3_finalize(show);
    sqlite3_close(db);
    return 0;
}
