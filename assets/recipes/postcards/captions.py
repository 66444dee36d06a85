"""Captions: scene + random stream -> a sentence and what it names.

A caption names only part of its scene; what it leaves out stays free.  Words in the main tables are said most of the time,
near words (a hut is a house) sometimes, and filler words that mean nothing to this world now and then, so that the text
encoder learns to pass over what it does not know.
"""
SUBJECT_WORDS = {
    'house': 'house|house|house|cottage|home|cabin', 'lighthouse': 'lighthouse|lighthouse|lighthouse|beacon',
    'windmill': 'windmill|windmill|windmill|mill', 'castle': 'castle|castle|castle|fortress|palace',
    'boat': 'boat|boat|sailboat|sailing boat|ship', 'balloon': 'balloon|balloon|hot-air balloon|hot air balloon',
    'cat': 'cat|cat|cat|kitten|kitty', 'bird': 'bird|bird|bird|seagull', 'pine': 'pine|pine tree|pine tree|fir|fir tree',
    'oak': 'tree|tree|tree|oak|oak tree', 'palm': 'palm|palm tree|palm tree', 'mountain': 'mountain|mountain|mountain|peak',
    'bridge': 'bridge|bridge|bridge|stone bridge|arched bridge', 'tent': 'tent|tent|tent|camping tent'}
SUBJECT_NEAR = {
    'house': 'hut|barn|chalet|farmhouse|farm|bungalow|lodge|villa|shed|little home', 'lighthouse': 'light tower',
    'castle': 'tower|fort|citadel|chateau', 'boat': 'yacht|sail boat|dinghy|sailing ship|vessel', 'balloon': 'air balloon|airship',
    'cat': 'tomcat|pussycat', 'bird': 'gull|dove|sparrow|crow|swallow', 'pine': 'spruce|conifer|christmas tree|evergreen',
    'oak': 'maple|birch|apple tree|leafy tree', 'palm': 'coconut tree|coconut palm', 'mountain': 'summit|volcano|alp|hill',
    'bridge': 'viaduct|footbridge', 'tent': 'camp|teepee|wigwam', 'windmill': 'wind mill|dutch windmill'}
COLOR_WORDS = {
    'red': 'red|red|red|crimson|scarlet|ruby', 'orange': 'orange|orange|orange|tangerine|amber',
    'yellow': 'yellow|yellow|yellow|golden|lemon', 'green': 'green|green|green|emerald|mint',
    'blue': 'blue|blue|blue|azure|navy|cobalt', 'purple': 'purple|purple|purple|violet|lilac',
    'pink': 'pink|pink|pink|rose|salmon', 'white': 'white|white|white|snow-white|ivory',
    'black': 'black|black|black|dark|jet black', 'brown': 'brown|brown|brown|chocolate|wooden'}
COLOR_NEAR = {'red': 'cherry|dark red|bright red', 'orange': 'apricot|ginger', 'yellow': 'gold|bright yellow', 'green': 'lime|dark green',
              'blue': 'turquoise|cyan|teal|dark blue|light blue', 'purple': 'lavender|magenta|mauve', 'pink': 'coral|light pink',
              'white': 'pale|cream|grey|gray', 'black': 'charcoal|ebony', 'brown': 'beige|tan'}
GROUND_WORDS = {
    'lake': 'lake|lake|lake|pond|lakeside', 'sea': 'sea|sea|sea|ocean|coast', 'meadow': 'meadow|meadow|field|grassland|hills',
    'desert': 'desert|desert|desert|dunes|sand dunes', 'snow': 'snow|snow|snow|snowy field|snow field',
    'city': 'city|city|city|town|street'}
GROUND_NEAR = {'lake': 'river|lagoon|reservoir', 'sea': 'beach|shore|seaside|bay|harbour', 'meadow': 'valley|grass|pasture|countryside|prairie|garden',
               'desert': 'sahara|wasteland|sand', 'snow': 'arctic|snowy landscape|ice', 'city': 'downtown|skyline|metropolis|village'}
TIME_WORDS = {
    'dawn': 'at dawn|at dawn|at sunrise|in the early morning|at daybreak', 'day': 'by day|at noon|in the daytime|in daylight',
    'sunset': 'at sunset|at sunset|at dusk|in the evening|at sundown', 'night': 'at night|at night|by night|at midnight|under the moon'}
TIME_NEAR = {'dawn': 'in the morning|as the sun rises|at first light', 'day': 'at midday|in the afternoon|on a sunny day|in bright sunlight',
             'sunset': 'in the evening glow|at twilight|as the sun sets|in the golden hour', 'night': 'under the stars|on a starry night|in moonlight|in the dark'}
WEATHER_WORDS = {
    'clear': 'under a clear sky|in clear weather|with a cloudless sky', 'cloudy': 'under a cloudy sky|with clouds|on a cloudy day|overcast',
    'rain': 'in the rain|in the rain|in rainy weather|while it rains', 'snowfall': 'in falling snow|while it snows|in a snowfall|with snowflakes',
    'fog': 'in fog|in the mist|on a foggy day|misty', 'rainbow': 'with a rainbow|under a rainbow'}
WEATHER_NEAR = {'clear': 'in good weather', 'cloudy': 'under grey clouds', 'rain': 'in a storm|on a rainy day|in a rainstorm',
                'snowfall': 'in a blizzard|in a snowstorm|on a snowy day', 'fog': 'in thick fog|in haze|hazy', 'rainbow': 'and a rainbow in the sky'}
SEASON_WORDS = {'spring': 'in spring|in spring|in springtime', 'summer': 'in summer|in summer|in summertime',
                'autumn': 'in autumn|in autumn|in fall', 'winter': 'in winter|in winter|in wintertime'}
STYLE_WORDS = {
    'poster': 'poster|flat poster|travel poster|gouache', 'watercolor': 'watercolor|watercolour|watercolor painting|aquarelle',
    'papercut': 'paper cut|papercut|paper cutout|layered paper', 'ink': 'ink drawing|ink|pen and ink drawing|sketch',
    'neon': 'neon|neon style|neon lights|synthwave', 'pixel': 'pixel art|pixel art|8-bit pixel art|pixel'}
STYLE_NEAR = {'poster': 'flat illustration|vector art', 'watercolor': 'water color|watercolors', 'papercut': 'origami|cut paper',
              'ink': 'ink sketch|pen drawing|line art', 'neon': 'glowing neon|cyberpunk', 'pixel': 'pixelart|8-bit|retro game art'}
SIZE_WORDS = {'small': 'small|small|little|tiny', 'big': 'big|big|large|huge'}
COUNT_WORDS = {2: 'two|two|a pair of|2', 3: 'three|three|3', 4: 'four|four|4', 5: 'five|5|several|many'}
RELATION_WORDS = {
    'left': 'to the left of|left of|on the left of', 'right': 'to the right of|right of|on the right of',
    'beside': 'beside|next to|and|with|by|near', 'behind': 'behind|behind|in back of', 'front': 'in front of|in front of|before',
    'above': 'above|over|flying over', 'under': 'under|below|beneath'}
PLURALS = {'fortress': 'fortresses', 'kitty': 'kitties', 'torch': 'torches', 'birch': 'birches', 'chateau': 'chateaux'}
FILLER = '''quiet old beautiful lovely peaceful charming calm cozy pretty nice simple magical dreamy lonely ancient modern famous
tiny-world vintage rustic romantic mysterious bright warm cool gentle happy sad wonderful fantastic amazing detailed colorful
minimal elegant cute funny strange silent wild remote sleepy misty-eyed classic traditional realistic abstract'''.split()
TAILS = ['beautiful', 'highly detailed', 'masterpiece', 'best quality', 'postcard', 'trending', 'soft light', 'nice colors',
         'with my dog', 'for my friend', 'no people', 'wide view', 'high quality', 'from far away', 'holiday memories',
         'greetings from here', '4k', 'digital art', 'illustration', 'lots of detail', 'very nice', 'please', 'wallpaper']
HEADS = ['a picture of', 'an image of', 'a postcard of', 'a painting of', 'a drawing of', 'a view of', 'draw', 'show me',
         'i want', 'please draw', 'a scene with', 'there is', 'a postcard with', 'an illustration of', 'photo of']
SMALL_WORDS = {'at', 'in', 'the', 'by', 'a', 'an', 'under', 'on', 'with', 'while', 'it'}


def word(r, table, near, key, odds=.12):
    if near and key in near and r.random() < odds:
        return r.choice(near[key].split('|'))
    return r.choice(table[key].split('|'))


def article(words):
    return ('an ' if words[0] in 'aeiou' else 'a ') + words


def plural(noun):
    if noun in PLURALS:
        return PLURALS[noun]
    return noun + ('es' if noun.endswith(('s', 'x', 'sh', 'ch')) else 's')


def group_phrase(r, g, said, colored, near=.12):
    """One group in words; records kind, color, count and size as said."""
    noun = word(r, SUBJECT_WORDS, SUBJECT_NEAR, g['kind'], near)
    parts = []
    named = dict(kind=g['kind'], color=None, count=g['count'], size=None)
    if g['size'] and r.random() < .85:
        parts.append(word(r, SIZE_WORDS, None, g['size']))
        named['size'] = g['size']
    if g['color'] and colored:
        parts.append(word(r, COLOR_WORDS, COLOR_NEAR, g['color'], near))
        named['color'] = g['color']
    if r.random() < .03:
        parts.insert(0, r.choice(FILLER))
    said['groups'].append(named)
    if g['count'] > 1:
        return ' '.join([word(r, COUNT_WORDS, None, g['count'])] + parts + [plural(noun)])
    phrase = ' '.join(parts + [noun])
    u = r.random()
    return article(phrase) if u < .88 else 'the ' + phrase if u < .92 else phrase


def ground_phrase(r, q, said, bare):
    ground = q['ground']
    noun = word(r, GROUND_WORDS, GROUND_NEAR, ground)
    said['ground'] = ground
    if ground in ('lake', 'sea'):
        tone = ''
        if r.random() < .40:
            tone, said['water'] = q['water'] + ' ', q['water']
        if bare:
            return tone + noun
        return r.choice(['beside', 'by', 'at', 'near', 'on', 'by']) + r.choice([' a ', ' the ', ' the ']) + tone + noun
    if bare:
        return noun
    if noun in ('snow', 'sand', 'grass', 'ice', 'arctic', 'sahara', 'countryside', 'dunes', 'sand dunes', 'hills', 'downtown'):
        return r.choice(['in the ', 'in the ', 'on the ']) + noun
    return r.choice(['in ', 'in ', 'on ']) + r.choice(['the ', article(noun).split()[0] + ' ']) + noun


def extras(r, q, said):
    """Time, weather and season, each with its own odds, shuffled."""
    out = []
    if r.random() < .72:
        out.append(word(r, TIME_WORDS, TIME_NEAR, q['time']))
        said['time'] = q['time']
    if r.random() < (.30 if q['weather'] == 'clear' else .72):
        out.append(word(r, WEATHER_WORDS, WEATHER_NEAR, q['weather']))
        said['weather'] = q['weather']
    if q['ground'] != 'desert' and r.random() < .40:
        out.append(word(r, SEASON_WORDS, None, q['season']))
        said['season'] = q['season']
    r.shuffle(out)
    return out


def with_style(r, q, said, sentence):
    style = word(r, STYLE_WORDS, STYLE_NEAR, q['style'])
    said['style'] = q['style']
    u = r.random()
    if u < .45:
        return sentence + ', ' + style
    if u < .62:
        return sentence + ' in ' + style + ('' if style.endswith('style') else ' style')
    if u < .85 and not style.endswith(('style', 'lights')):
        return (article(style) if r.random() < .4 else style) + ' of ' + sentence
    return style + (': ' if u < .93 else ', ') + sentence


def caption(q, r):
    """A sentence about the scene and what it names: groups (first as said first), relation, side, water, ground, ..."""
    said = dict(groups=[], relation=None, side=None, water=None, ground=None, time=None, weather=None, season=None, style=None)
    bare = r.random() < .14
    a = q['groups'][0]
    parts = [group_phrase(r, a, said, r.random() < .88)]
    if len(q['groups']) == 2:
        if r.random() < .93:
            said['relation'] = q['relation']
            parts.append(word(r, RELATION_WORDS, None, q['relation']))
            parts.append(group_phrase(r, q['groups'][1], said, r.random() < .88))
            parts = [' '.join(parts)]
    elif q['side'] != 'centre' and r.random() < .30:
        parts.append(r.choice(['on the %s', 'at the %s', 'on the %s side']) % q['side'])
        said['side'] = q['side']
    if r.random() < .82:
        parts.append(ground_phrase(r, q, said, bare))
    more = extras(r, q, said)
    if bare:
        more = [' '.join(w for w in t.split() if w not in SMALL_WORDS) for t in more]
        sentence = (', ' if r.random() < .7 else ' ').join(parts + more)
    elif more and r.random() < .12:
        sentence = more[0] + ', ' + ' '.join(parts + more[1:])
        return finish(r, sentence), said
    else:
        sentence = (', ' if r.random() < .2 else ' ').join(parts + more)
    if r.random() < .62:
        sentence = with_style(r, q, said, sentence)
    return finish(r, sentence), said


def finish(r, s):
    """Filler, clothes-line form, shuffled order, capital and full stop."""
    u = r.random()
    if u < .05:
        s = r.choice(HEADS) + ' ' + s
    elif u < .12:
        s = s + ', ' + r.choice(TAILS)
    elif u < .15:
        words = s.split()
        words.insert(r.randrange(len(words) + 1), r.choice(FILLER))
        s = ' '.join(words)
    u = r.random()
    if u < .04:
        s = ' '.join(w for w in s.replace(',', '').replace(':', '').split() if w not in SMALL_WORDS and w != 'of')
    elif u < .06:
        chunks = s.split(', ')
        r.shuffle(chunks)
        s = ', '.join(chunks)
    elif u < .14:
        s = s[0].upper() + s[1:] + '.'
    return s


def all_words():
    """Every phrase of the tables, for the tokenizer: each becomes one token a word."""
    tables = [SUBJECT_WORDS, SUBJECT_NEAR, COLOR_WORDS, COLOR_NEAR, GROUND_WORDS, GROUND_NEAR, TIME_WORDS, TIME_NEAR, WEATHER_WORDS,
              WEATHER_NEAR, SEASON_WORDS, STYLE_WORDS, STYLE_NEAR, SIZE_WORDS, COUNT_WORDS, RELATION_WORDS]
    phrases = [p for t in tables for v in t.values() for p in v.split('|')]
    phrases += [plural(p) for t in (SUBJECT_WORDS, SUBJECT_NEAR) for v in t.values() for p in v.split('|')]
    return phrases + FILLER + TAILS + HEADS + ['centre', 'center', 'side', 'style', 'of', 'the', 'an', 'on', 'at', 'in']
