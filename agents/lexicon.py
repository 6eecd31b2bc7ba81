"""What is known of names before any text is read: titles, first names, places, and the words that stand around them."""

from .vocabulary import SPEECH, wordset

MALE_TITLES = wordset("Mr Sir Lord Colonel Captain Major Inspector Sergeant Father King Duke Count Baron Earl Prince")
FEMALE_TITLES = wordset("Mrs Miss Ms Lady Madame Madam Mademoiselle Mme Mlle Queen Duchess Countess Baroness Princess")
OTHER_TITLES = wordset(
    "Dr Doctor Professor Prof Rev Reverend Judge Uncle Aunt Master Messrs Major-General Police-Constable Constable"
)
TITLES = MALE_TITLES | FEMALE_TITLES | OTHER_TITLES
RANKS = wordset("King Queen Duke Duchess Count Countess Baron Baroness Earl Prince Princess Lord Lady Emperor Bishop")
DOTTED = wordset("Mr Mrs Ms Dr Prof Rev Messrs Mme Mlle")
PARTICLES = wordset("von van de du della di le la")

MALE_NAMES = wordset(
    """
    Aaron Abraham Adam Adolph Albert Alexander Alfred Aloysius Andrew Anthony Archibald Archie Arthur
    Augustus Ben Benjamin Bernard Bertram Bill Bob Cecil Charles Charlie Christopher Clarence Cyril Daniel
    David Donald Duncan Edgar Edmund Edward Edwin Elias Ernest Eustace Ezekiah Ezekiel Ferdinand Francis
    Frank Fred Frederick Geoffrey George Gilbert Godfrey Gregory Grimesby Gustave Harold Harry Hector
    Henry Herbert Horace Hosmer Howard Hugh Hugo Isaac Isa Jabez Jack Jacob James Jem Jeremiah Jephro Jim
    Joe John Jonas Jonathan Joseph Josiah Julian Julius Karl Kenneth Lawrence Leonard Leopold Lewis Louis
    Luke Lysander Malcolm Mark Martin Matthew Maurice Max Michael Mortimer Mycroft Nathaniel Neville
    Nicholas Noah Oliver Oscar Oswald Otto Patrick Paul Percy Peter Philip Ralph Reginald Reuben Richard
    Robert Robin Roger Roland Rupert Samuel Sebastian Sherlock Sidney Silas Simon Stanley Stephen Theodore
    Theophilus Thomas Tim Timothy Tobias Tom Victor Vincent Walter Wilfred Wilhelm William
    """
)
FEMALE_NAMES = wordset(
    """
    Ada Adelaide Agatha Agnes Alice Amelia Amy Anna Anne Annie Beatrice Bertha Bridget Caroline Catherine
    Cecilia Charlotte Clara Clarissa Clotilde Constance Cordelia Dora Dorothy Edith Effie Eleanor Eliza
    Elizabeth Ellen Elsie Emily Emma Esther Ethel Eva Eve Evelyn Fanny Flora Florence Frances Gertrude
    Grace Gwendolen Hannah Harriet Hatty Helen Henrietta Hilda Honoria Ida Irene Isabel Isabella Jane
    Janet Jenny Jessie Joan Josephine Julia Juliet Kate Katherine Kitty Laura Lavinia Lilian Lily Louisa
    Lucy Lydia Mabel Madeline Maggie Margaret Maria Marie Martha Mary Matilda Maud Mildred Millicent
    Minnie Miriam Nancy Nellie Nora Olive Patience Penelope Phoebe Polly Rachel Rebecca Rosa Rose Ruth
    Sally Sarah Selina Sophia Sophie Sophy Susan Sylvia Theresa Ursula Victoria Violet Winifred
    """
)
FIRST_NAMES = MALE_NAMES | FEMALE_NAMES

GAZETTEER = frozenset(
    " ".join(name.split())
    for name in """
    Aberdeen, Afghanistan, Africa, Aldgate, America, Amsterdam, Andover, Arizona, Asia, Atlanta, Auckland,
    Australia, Austria, Ballarat, Baltimore, Balham, Bath, Bavaria, Bedfordshire, Belfast, Belgium,
    Bengal, Berkshire, Berlin, Birmingham, Bohemia, Bombay, Bordeaux, Boston, Brazil, Brighton, Bristol,
    Britain, Brixton, Brussels, Buckinghamshire, Burma, Calcutta, California, Camberwell, Cambridge,
    Canada, Canterbury, Carlsbad, Carolina, Chesterfield, Chicago, China, Cornwall, Covent Garden, Charing
    Cross, Coventry, Crewe, Croydon, Cumberland, Dartmoor, Denmark, Derbyshire, Devon, Devonshire, Dorset,
    Dover, Dresden, Dublin, Dundee, Durham, East End, Edinburgh, Egria, Egypt, England, Essex, Eton,
    Europe, Euston, Exeter, Eyford, Florence, Florida, France, Frankfort, Fordham, Geneva, Georgia,
    Germany, Glasgow, Gloucestershire, Gravesend, Great Britain, Greece, Greenwich, Halifax, Hamburg,
    Hammersmith, Hampshire, Hampstead, Harley Street, Harrow, Hereford, Herefordshire, Holborn, Holland,
    Hong Kong, Horsham, Hull, India, Ireland, Italy, Japan, Jermyn Street, Kensington, Kent, Kew, Kilburn,
    Lambeth, Lancashire, Leatherhead, Lee, Leeds, Leicester, Leicestershire, Lewisham, Lincolnshire,
    Lisbon, Liverpool, London, Louisiana, Lyon, Madrid, Manchester, Marseilles, Melbourne, Mexico,
    Middlesex, Minories, Montana, Montpellier, Montague Place, Moscow, Munich, Naples, Netherlands,
    Nevada, Newcastle, New Jersey, New Mexico, New Orleans, New York, New Zealand, Norfolk,
    Northumberland, Norway, Norwood, Nottingham, Nova Scotia, Odessa, Oxford, Oxfordshire, Paddington,
    Paris, Pall Mall, Peckham, Pennsylvania, Persia, Peru, Petersfield, Petersburg, Philadelphia,
    Plymouth, Poland, Pondicherry, Portsdown, Portsmouth, Portugal, Prague, Prussia, Reading, Richmond,
    Rome, Ross, Rotterdam, Russia, San Francisco, Savannah, Scandinavia, Scotland, Scotland Yard,
    Serpentine, Sheffield, Shetland, Shropshire, Siam, Soho, Somerset, Southampton, Southsea, Spain, St.
    Augustine, Staffordshire, Stoke Moran, Streatham, Stroud, Suffolk, Sumatra, Surrey, Sussex, Sweden,
    Switzerland, Sydney, Tennessee, Texas, Thames, Tottenham Court Road, Trincomalee, Turkey, United
    States, Uffa, Utrecht, Vauxhall, Victoria, Vienna, Virginia, Wales, Walsall, Wandsworth, Warsaw,
    Warwickshire, Washington, Waterloo, West End, Westminster, Whitechapel, Wiltshire, Winchester,
    Windsor, Wimbledon, Woking, Worcestershire, Yorkshire, Zurich
    """.split(",")
)
# Towns whose names are also surnames, first names or plain words: only what stands before them shows the
# place.
AMBIGUOUS_PLACES = wordset("Bath Boston Florence Hull Kent Lee Reading Ross Sydney Turkey Victoria Virginia")
PLACE_SUFFIXES = wordset(
    """
    Street Road Square Lane Lodge Terrace Bridge Station Hall House Manor Park Avenue Crescent Gardens
    Garden Court Hotel Inn Valley Pool Farm Grove Gate Hill Heath Common Abbey Castle Cathedral Church
    College Cottage County Docks Dock Forest Island Islands River Sea Wood Wharf Mews Villa Villas Beeches
    Junction Market Circus Alley Row Moor Place End Opera Theatre Mansions Buildings Chambers
    """
)
INSTITUTIONS = wordset(
    """
    League Bank Company Society Club Office Union Encyclopaedia Encyclopedia Britannica Chronicle Herald
    Gazette Mail News Post Standard Telegraph Times Star Echo Directory Army Navy Act Bible Testament Church's
    Association Commission Committee Government Parliament Department Ministry Agency Republic Railway Ltd
    Court's Force Men
    """
)
# Capitalised, and never by itself a person or a place.
NOT_NAMES = wordset(
    """
    Monday Tuesday Wednesday Thursday Friday Saturday Sunday January February March April May June July
    August September October November December Christmas Easter Michaelmas God Lord Heaven Heavens Jove
    Providence Bible English Englishman French Frenchman German Germans American Americans Irish Irishman
    Scotch Scottish Welsh Indian Indians Australian Bohemian Italian Spanish Russian Dutch Chinese Lascar
    Malay Malays European Latin Greek Jew Christian British Briton Roman Catholic Swiss Victorian
    Freemason Gipsy Gypsies Atlantic Pacific Continental Majesty Highness Grace Excellency Honour Lordship
    Ladyship Doctor Coroner Crown Assizes Bench Inspector Miss Sir Madam Madame Mister Mrs Mr Count
    Countess King Queen Duke Duchess Lady Prince Princess Baron Colonel Captain Major Sergeant Professor
    Uncle Aunt Father Mother Mamma Papa Dad Brother Sister Yes No Oh Ah Ha Hum Hullo Hello Well Why
    Nonsense Eh Tut Pooh Pshaw Hurrah Halloa North South East West Northern Southern Eastern Western Esq
    Jr Sr St Adventure Adventures Chapter Part Republican Conservative Democrat Alas Bravo Amen Finally Ku
    Klux Klan KKK Arabian Persian Bengal Petrarch Apache Tudor Georgian Regency Gothic Mormon Boer Civil
    """
)
GIVEN_BY = wordset("friend named name's called colleague partner wife husband brother sister son daughter uncle client")
IN_PLACE = wordset("in at near")
TO_PLACE = wordset("from to through across outside towards toward leave left reached into")
ACTING = SPEECH | wordset(
    "smiled nodded shook rose stood sat walked looked glanced turned sprang rushed chuckled rubbed leaned "
    "stared bowed threw shrugged took drew knew told thought wrote came went married sent gave held"
)
BEING = wordset("had has was is would who whose")  # houses and ships are and have, too
VOCATIVE = wordset("dear friend poor old young")
SHIPS = wordset("barque ship schooner steamer vessel brig yacht")
