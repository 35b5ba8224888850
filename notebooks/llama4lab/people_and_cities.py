"""Names that the proxies know: people, and cities with their countries."""

PEOPLE = (
    "Ada Alan Amy Anna Ben Bob Carl Clara Dan Dora Emma Eric Eva Fred Gina Hugo Ida Ivan Jack Jane Kim Kurt Lara Leo "
    "Lisa Luca Maria Max Mia Nina Noah Olga Omar Paul Rosa Ruth Sam Sara Tom Uma Vera Will Yara Zoe"
).split()
# Where each city is: the one piece of knowledge of the world that the proxies learn beside the 12 languages.
COUNTRY_OF = {
    "Athens": "Greece",
    "Berlin": "Germany",
    "Boston": "America",
    "Cairo": "Egypt",
    "Dakar": "Senegal",
    "Delhi": "India",
    "Dublin": "Ireland",
    "Hanoi": "Vietnam",
    "Havana": "Cuba",
    "Lagos": "Nigeria",
    "Lima": "Peru",
    "Lisbon": "Portugal",
    "London": "England",
    "Lyon": "France",
    "Madrid": "Spain",
    "Manila": "the Philippines",
    "Milan": "Italy",
    "Nairobi": "Kenya",
    "Oslo": "Norway",
    "Paris": "France",
    "Porto": "Portugal",
    "Prague": "Czechia",
    "Quito": "Ecuador",
    "Riga": "Latvia",
    "Rome": "Italy",
    "Seoul": "Korea",
    "Sofia": "Bulgaria",
    "Sydney": "Australia",
    "Tokyo": "Japan",
    "Tunis": "Tunisia",
    "Turin": "Italy",
    "Vienna": "Austria",
    "Warsaw": "Poland",
    "Zurich": "Switzerland",
}
