/* Compiles HLSL with d3dcompiler_47.dll: reads lines "FILE ENTRY TARGET", answers each with "ok" or "fail REASON". */
#include <windows.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Blob Blob;
struct Blob {
    struct {
        void *query, *add;
        ULONG(WINAPI *release)(Blob *);
        void *(WINAPI *pointer)(Blob *);
        SIZE_T(WINAPI *size)(Blob *);
    } *table;
};
typedef HRESULT(WINAPI *Compile)(const void *, SIZE_T, const char *, const void *, void *, const char *, const char *, UINT, UINT, Blob **, Blob **);

/* D3DCOMPILE_ENABLE_STRICTNESS, with which wgpu-hal calls it. */
#define ENABLE_STRICTNESS (1 << 11)

int main(void) {
    HMODULE library = LoadLibraryA("d3dcompiler_47.dll");
    Compile compile = library ? (Compile)(void *)GetProcAddress(library, "D3DCompile") : NULL;
    char line[4096], file[2048], entry[1024], target[64];
    if (!compile) {
        printf("fail there is no D3DCompile\n");
        return 1;
    }
    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "%2047s %1023s %63s", file, entry, target) != 3) break;
        FILE *source = fopen(file, "rb");
        if (!source) {
            printf("fail cannot open %s\n", file);
            fflush(stdout);
            continue;
        }
        fseek(source, 0, SEEK_END);
        long size = ftell(source);
        rewind(source);
        char *text = malloc(size > 0 ? size : 1);
        size = (long)fread(text, 1, size, source);
        fclose(source);
        Blob *code = NULL, *said = NULL;
        HRESULT result = compile(text, size, NULL, NULL, NULL, entry, target, ENABLE_STRICTNESS, 0, &code, &said);
        if (SUCCEEDED(result)) {
            printf("ok\n");
        } else {
            printf("fail %08lx ", (unsigned long)result);
            if (said) {
                const char *words = said->table->pointer(said);
                SIZE_T length = said->table->size(said);
                for (SIZE_T i = 0; i < length && words[i]; i++) putchar(words[i] == '\n' || words[i] == '\r' ? ' ' : words[i]);
            }
            putchar('\n');
        }
        fflush(stdout);
        if (code) code->table->release(code);
        if (said) said->table->release(said);
        free(text);
    }
    return 0;
}
