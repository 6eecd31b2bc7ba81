"""Words that mean nothing by themselves, for everything here that looks at words."""


def wordset(lines: str) -> frozenset[str]:
    """A set of words written as text."""
    return frozenset(lines.split())


SPEECH = wordset(
    "said asked cried answered replied remarked observed murmured whispered continued returned shouted "
    "exclaimed muttered suggested responded gasped interrupted interjected drawled ejaculated explained "
    "added began repeated inquired demanded screamed yelled growled laughed sighed groaned stammered called "
    "commented protested"
)

STOPWORDS = wordset(
    """
    everybody everyone nobody somebody anybody whoever
    a about above across after again against ago all almost along already also although always am among an
    and another any anyone anything are as ask asked at away back be became because become been before
    began behind being below beside between beyond both but by call called came can cannot certainly come
    comes coming could course cried day days did do does doing done door down during each either else end
    enough even ever every everything fact far few find first for found four from gave get give given go
    goes going gone good got great had half hand hands has have having he head hear heard held help her
    here hers herself him himself his how however i if in indeed into is it its itself just keep kept knew
    know known last late least leave left less let like little long look looked looking made make makes
    making man many matter may me mean might mind mine minutes more most mr mrs miss much must my myself
    near never next no nor not nothing now of off oh old on once one only onto open or other others our
    ourselves out over own part perhaps place point put quite rather ran really remarked right round said
    same sat saw say saying see seeing seem seemed seems seen set several shall she should side since sir
    some someone something soon still stood such suddenly sure take taken tell than thank that the their
    them themselves then there therefore these they thing things think this those though thought three
    through thus till time to told too took toward towards turn turned two under until up upon us use used
    very want wanted was way we well went were what when where whether which while who whole whom whose
    why will wish with within without word words work would year years yes yet you young your yours
    yourself answered dear doubt eyes face five morning night o'clock people pray room sort ten twenty
    understand woman won't don't didn't can't couldn't i'm i'll i've i'd it's that's you'll you've you're
    he'd isn't wasn't wouldn't shouldn't
    """
)
