"""Byte-level BPE in CLIP's form: training on captions, the four files of a diffusers tokenizer folder, and encoding.

    python3 tokenizer.py FOLDER      trains and writes vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json

Ids: 256 bytes, 256 bytes ending a word, the merges, <|startoftext|>, <|endoftext|>.  Padding is <|endoftext|>, length 77.
"""
import collections
import json
import os
import random
import re
import sys

BOS, EOS, LENGTH = '<|startoftext|>', '<|endoftext|>', 77
# CLIP's pattern for plain ASCII text; captions have nothing else.
WORD = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+", re.IGNORECASE)


def byte_names():
    """CLIP's printable name of each byte, in CLIP's order."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


NAMES = byte_names()


def symbols(word):
    s = [NAMES[b] for b in word.encode('utf-8')]
    return tuple(s[:-1] + [s[-1] + '</w>'])


def merge(word, pair):
    out, i = [], 0
    while i < len(word):
        if word[i:i + 2] == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return tuple(out)


def train(texts):
    """The merges, most frequent pair first, until every word is one token."""
    words = collections.Counter(symbols(w) for t in texts for w in WORD.findall(t.lower()))
    merges = []
    while True:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        if not pairs:
            return merges
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append(best)
        words = collections.Counter({merge(w, best): n for w, n in words.items()})


class Tokenizer:
    def __init__(self, folder):
        with open(os.path.join(folder, 'vocab.json'), encoding='utf-8') as f:
            self.ids = json.load(f)
        with open(os.path.join(folder, 'merges.txt'), encoding='utf-8') as f:
            self.rank = {tuple(line.split()): i for i, line in enumerate(f.read().strip().split('\n')[1:])}
        self.cache = {}

    def word(self, w):
        if w not in self.cache:
            s = symbols(w)
            while len(s) > 1:
                best = min(zip(s, s[1:]), key=lambda p: self.rank.get(p, 1 << 30))
                if best not in self.rank:
                    break
                s = merge(s, best)
            self.cache[w] = [self.ids[x] for x in s]
        return self.cache[w]

    def __call__(self, text):
        """77 ids: start, the words (cut at 75), end, padded with end."""
        ids = [i for w in WORD.findall(text.lower()) for i in self.word(w)][:LENGTH - 2]
        ids = [self.ids[BOS]] + ids
        return ids + [self.ids[EOS]] * (LENGTH - len(ids))


def write(folder, merges):
    os.makedirs(folder, exist_ok=True)
    names = [NAMES[b] for b in NAMES]
    vocab = names + [n + '</w>' for n in names] + [a + b for a, b in merges] + [BOS, EOS]
    special = dict(bos_token=BOS, eos_token=EOS, pad_token=EOS, unk_token=EOS)
    config = dict(tokenizer_class='CLIPTokenizer', model_max_length=LENGTH, do_lower_case=True, add_prefix_space=False,
                  errors='replace', **special)

    def put(name, text):
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as f:
            f.write(text)
    put('vocab.json', json.dumps({v: i for i, v in enumerate(vocab)}, ensure_ascii=False))
    put('merges.txt', '#version: 0.2\n' + '\n'.join(a + ' ' + b for a, b in merges) + '\n')
    put('tokenizer_config.json', json.dumps(config, indent=2) + '\n')
    put('special_tokens_map.json', json.dumps(special, indent=2) + '\n')
    return len(vocab)


def main():
    from captions import all_words, caption
    from world import scene_at
    texts = [caption(scene_at(i), random.Random(i))[0] for i in range(20000)]
    common = '''and or but with without from into over under my your his her our their this that these those some any no not
        very more most is are was be being there here it its we you they he she one six seven eight nine ten first last new
        young long short high low dark light day night sun moon star stars cloud clouds sky water wave waves wind storm ice
        grass flower flowers garden forest wood woods road path hill hills river stream island beach sand rock rocks stone
        man woman child people person boy girl dog horse car train ship door window roof wall tower church school market
        table chair apple fruit fish sun rising setting shining standing sitting flying sailing sleeping looking next far
        near close top bottom middle front back behind between around through across along up down out off inside outside
        picture photo painting drawing image card art style color colour view scene landscape nature world winter wonderland'''
    texts += all_words() + [common, 'grey gray silver gold bronze teal turquoise green blue . , : ; ! ? - ( ) 0 1 2 3 4 5 6 7 8 9']
    n = write(sys.argv[1], train(texts))
    longest = max(len(WORD.findall(t)) for t in texts[:20000])
    print('%d ids, longest of 20000 captions %d words' % (n, longest))


if __name__ == '__main__':
    main()
